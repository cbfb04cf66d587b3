"""Tensors that a caller has transformed already: whether a model can take them. Shape letters: N rows, C columns."""

import math
from collections.abc import Mapping

import numpy as np

from serving.errors import BadInput
from serving.protocol.inputs import check_names
from training.package.tensor_specs import TensorSpec


def checked(tensors: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    """The same arrays in the model's order, none copied. Raises BadInput.

    Runtimes check less: a code beyond its table is an error deep inside one of them and a wild read in another.
    """
    check_names(tensors, list(specs), "tensor")
    for name, spec in specs.items():
        _require_form(name, tensors[name], spec)
        _require_values(name, tensors[name], spec)
    sizes = {name: len(tensors[name]) for name in specs}
    if len(set(sizes.values())) > 1:
        raise BadInput("tensors differ in their number of rows: " + ", ".join(f"{n} has {s}" for n, s in sizes.items()))
    return {name: tensors[name] for name in specs}


def _require_form(name: str, values: np.ndarray, spec: TensorSpec) -> None:
    where = f"tensor {name!r}"
    if not isinstance(values, np.ndarray):
        raise BadInput(f"{where} is a {type(values).__name__}, expected a numpy array of {spec.dtype}")
    if values.dtype != np.dtype(spec.dtype):
        raise BadInput(f"{where}: dtype is {values.dtype}, expected {spec.dtype}", f"values.astype('{spec.dtype}')")
    fits = len(values.shape) == 1 + len(spec.shape) and all(
        wanted in (None, size) for size, wanted in zip(values.shape[1:], spec.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(["N", *("any" if size is None else str(size) for size in spec.shape)])
        raise BadInput(f"{where}: shape is {list(values.shape)}, expected [{wanted}]")
    if 0 in values.shape:
        raise BadInput(f"{where} is empty, its shape is {list(values.shape)}")


def _require_values(name: str, values: np.ndarray, spec: TensorSpec) -> None:
    if spec.dtype == "float32":
        with np.errstate(invalid="ignore"):  # of infinities of both signs
            total = float(np.sum(values, dtype=np.float64))  # one pass, and no array as large as the tensor
        if not math.isfinite(total):
            raise BadInput(f"tensor {name!r} holds a NaN or an infinity, which transforms never give")
        return
    per_column = len(spec.num_codes) > 1
    for column, num_codes in enumerate(spec.num_codes):
        codes = values[:, column] if per_column else values
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= num_codes:
            where = f"tensor {name!r}" + (f", column {column}" if per_column else "")
            raise BadInput(f"{where}: codes are {low} to {high}, expected 0 to {num_codes - 1}")
