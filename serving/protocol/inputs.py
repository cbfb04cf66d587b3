"""From named tensors or records to the arrays a model takes; every mismatch is named."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from serving.errors import BadInput
from serving.protocol.tensors import Tensor, flatten, json_kind, number_values, text_values
from serving.protocol.unpacked import read_dates, read_images
from training.package.manifest import InputSpec


def inputs_from_tensors(tensors: list[Tensor], specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    """The model's inputs by name, all of one batch size."""
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) != len(tensors):
        twice = sorted({tensor.name for tensor in tensors if [t.name for t in tensors].count(tensor.name) > 1})
        raise BadInput(f"input {', '.join(map(repr, twice))} stands more than once")
    check_names(by_name, [spec.name for spec in specs], "input")
    inputs = {spec.name: _fit(by_name[spec.name], spec) for spec in specs}
    sizes = {name: len(values) for name, values in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise BadInput("inputs differ in their number of rows: " + ", ".join(f"{n} has {s}" for n, s in sizes.items()))
    return inputs


def inputs_from_records(body: Any, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    """The model's inputs from a list of records, from {"records": [...]}, or from one record."""
    records = _records(body, {spec.name for spec in specs})
    inputs: dict[str, np.ndarray] = {}
    expected = [spec.name for spec in specs]
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadInput(f"record {index} is {json_kind(record)}, expected an object with one value a column")
    records = [_gather_pixels(record, specs) for record in records]
    for index, record in enumerate(records):
        if record.keys() != set(expected):
            check_names(record, expected, f"record {index}: column")
    for spec in specs:
        values = [record[spec.name] for record in records]
        inputs[spec.name] = _column(values, spec)
    return inputs


def _column(values: list[Any], spec: InputSpec) -> np.ndarray:
    where = f"column {spec.name!r}"
    match spec.kind:
        case "categorical" | "text":
            return text_values(where, values)
        case "numeric":
            return number_values(where, values)
        case "date":
            return read_dates(where, text_values(where, values), spec)
    if spec.is_file and all(isinstance(value, str) for value in values):
        return read_images(where, values, spec)
    return np.stack([_image(index, value, spec) for index, value in enumerate(values)])


def check_names(given: Iterable[str], expected: list[str], what: str) -> None:
    """Raise BadInput naming everything that is missing and everything that is too much."""
    given = list(given)
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in expected]
    problems = [f"{name!r} is missing" for name in missing]
    for name in extra:
        near = get_close_matches(name, expected, n=1)
        problems.append(f"{name!r} is not one of the model's" + (f" (nearest: {near[0]!r})" if near else ""))
    if problems:
        raise BadInput(f"{what} {'; '.join(problems)}", f"the model takes {', '.join(expected)}")


def _fit(tensor: Tensor, spec: InputSpec) -> np.ndarray:
    where = f"input {spec.name!r}"
    _require_datatype(where, tensor, spec)
    num_rows, *rest = tensor.shape or (0,)
    is_image = spec.kind == "image" and tensor.datatype != "BYTES"
    allowed = [list(spec.shape), [math.prod(spec.shape)]] if is_image else [[], [1]]
    if not tensor.shape or rest not in allowed:
        shapes = " or ".join("[" + ", ".join(["N", *map(str, shape)]) + "]" for shape in allowed)
        raise BadInput(f"{where}: shape is {list(tensor.shape)}, expected {shapes}")
    if num_rows == 0:
        raise BadInput(f"{where}: the batch is empty, its shape is {list(tensor.shape)}")
    if is_image:
        return _without_gaps(tensor.values, spec).reshape(num_rows, *spec.shape)
    if spec.kind == "image":
        return read_images(where, tensor.values.tolist(), spec)
    return read_dates(where, tensor.values, spec) if spec.kind == "date" else tensor.values


def _require_datatype(where: str, tensor: Tensor, spec: InputSpec) -> None:
    is_bytes = tensor.datatype == "BYTES"
    if is_bytes == (spec.datatype == "BYTES") or (spec.is_file and not is_bytes):
        return
    wanted = "BYTES" if spec.datatype == "BYTES" else f"{spec.datatype} or another numeric datatype"
    raise BadInput(f"{where}: datatype is {tensor.datatype}, expected {wanted}")


def _without_gaps(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    if np.isnan(pixels).any():
        raise BadInput(f"input {spec.name!r}: an image has no missing pixels, got null or NaN")
    return pixels


def _records(body: Any, names: set[str]) -> list[Any]:
    if isinstance(body, dict) and body.keys() == {"records"} and "records" not in names:
        body = body["records"]
    elif isinstance(body, dict):
        body = [body]
    if not isinstance(body, list):
        raise BadInput(f"the body is {json_kind(body)}, expected a list of records")
    if not body:
        raise BadInput("the batch is empty: the list holds no record")
    return body


def _gather_pixels(record: dict[str, Any], specs: tuple[InputSpec, ...]) -> dict[str, Any]:
    """An image may also come as the table's columns, one a pixel, as it stands in a CSV file."""
    for spec in specs:
        if spec.kind == "image" and spec.name not in record and record.keys() >= set(spec.columns) and spec.columns:
            rest: Mapping[str, Any] = {name: value for name, value in record.items() if name not in spec.columns}
            record = {**rest, spec.name: [record[name] for name in spec.columns]}
    return record


def _image(index: int, value: Any, spec: InputSpec) -> np.ndarray:
    where = f"record {index}: {spec.name!r}"
    if spec.is_file and isinstance(value, str):
        return read_images(where, [value], spec)[0]
    if spec.is_file and not isinstance(value, list):
        raise BadInput(f"{where} is {json_kind(value)}, expected an image file in base64, or a list of pixels")
    pixels = number_values(where, flatten(where, spec.shape, value))
    return _without_gaps(pixels, spec).reshape(spec.shape)
