"""Inference requests and responses of the Open Inference Protocol, JSON and binary tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from serving.errors import BadInput, MalformedRequest
from serving.protocol.inputs import inputs_from_tensors
from serving.protocol.reply import JSON, Reply
from serving.protocol.tensors import DATATYPES, Tensor, json_kind, read_binary, read_json, write_binary
from training.package.manifest import InputSpec, OutputSpec

HEADER_LENGTH = "inference-header-content-length"
MAX_RANK = 8  # no input has more axes; longer shapes are a mistake or an attempt to cost time


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One parsed request."""

    id: str | None
    inputs: dict[str, np.ndarray]
    outputs: tuple[tuple[OutputSpec, bool], ...]  # each wanted output, and whether in binary

    @property
    def num_rows(self) -> int:
        """Rows of the batch."""
        return len(next(iter(self.inputs.values())))


def parse_json(raw: bytes | memoryview) -> Any:
    """JSON, strictly: no NaN, valid UTF-8, limited depth. Raises MalformedRequest."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from None


def parse_infer(
    headers: Mapping[str, str], body: bytes, inputs: tuple[InputSpec, ...], outputs: tuple[OutputSpec, ...]
) -> InferRequest:
    """Parse an inference request. Raises MalformedRequest or BadInput."""
    head, blobs = _split(headers.get(HEADER_LENGTH), body)
    request = parse_json(head)
    if not isinstance(request, dict):
        raise BadInput(f"the body is {json_kind(request)}, expected an object with `inputs`")
    request_id = request.get("id")
    if not isinstance(request_id, str | None):
        raise BadInput(f"id is {json_kind(request_id)}, expected a text")
    files = frozenset(spec.name for spec in inputs if spec.is_file)
    tensors = _tensors(request.get("inputs"), blobs, files)
    return InferRequest(request_id, inputs_from_tensors(tensors, inputs), _wanted(request, outputs))


def infer_reply(request: InferRequest, outputs: Mapping[str, np.ndarray], model: str, version: str) -> Reply:
    """The response to an inference request."""
    described: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for spec, binary in request.outputs:
        values = outputs[spec.name]
        tensor: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": values.shape}
        if binary:
            blobs.append(write_binary(values))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            # orjson writes float32 with the fewest digits that read back as the same float32.
            tensor["data"] = values.tolist() if values.dtype == object else np.ascontiguousarray(values).ravel()
        described.append(tensor)
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if request.id is not None:
        response["id"] = request.id
    head = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return Reply(200, head, JSON)
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Reply(200, b"".join((head, *blobs)), headers)


def _split(header: str | None, body: bytes) -> tuple[memoryview, memoryview]:
    whole = memoryview(body)
    if header is None:
        return whole, whole[len(body) :]
    if not (header.isascii() and header.isdigit()) or len(header) > 18 or int(header) > len(body):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {header[:40]!r}, expected the length of the JSON part, "
            f"at most the {len(body)} bytes of the body"
        )
    return whole[: int(header)], whole[int(header) :]


def _tensors(inputs: Any, blobs: memoryview, files: frozenset[str]) -> list[Tensor]:
    if not isinstance(inputs, list) or not inputs:
        raise BadInput(f"inputs is {'empty' if inputs == [] else json_kind(inputs)}, expected a list of tensors")
    tensors: list[Tensor] = []
    position = 0
    for index, raw in enumerate(inputs):
        name, datatype, shape = _header(index, raw)
        size = _binary_size(name, raw)
        if size is None:
            tensors.append(read_json(name, datatype, shape, raw["data"]))
            continue
        if position + size > len(blobs):
            raise MalformedRequest(
                f"input {name!r}: binary_data_size is {size}, only {len(blobs) - position} bytes follow the JSON part"
            )
        blob = blobs[position : position + size]
        tensors.append(read_binary(name, datatype, shape, blob, as_text=name not in files))
        position += size
    if position != len(blobs):
        raise MalformedRequest(f"{len(blobs) - position} bytes of binary data belong to no input")
    return tensors


def _header(index: int, raw: Any) -> tuple[str, str, tuple[int, ...]]:
    if not isinstance(raw, dict):
        raise BadInput(f"inputs[{index}] is {json_kind(raw)}, expected an object")
    name, datatype, shape = raw.get("name"), raw.get("datatype"), raw.get("shape")
    if not isinstance(name, str):
        raise BadInput(f"inputs[{index}].name is {json_kind(name)}, expected a text")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadInput(f"input {name!r}: datatype is {json_kind(datatype)}, expected one of {', '.join(DATATYPES)}")
    if not isinstance(shape, list):
        raise BadInput(f"input {name!r}: shape is {json_kind(shape)}, expected a list of sizes")
    if len(shape) > MAX_RANK or any(type(size) is not int or size < 0 for size in shape):
        raise BadInput(f"input {name!r}: shape is {str(shape)[:60]}, expected at most {MAX_RANK} sizes of 0 or more")
    return name, datatype, tuple(shape)


def _binary_size(name: str, raw: dict[str, Any]) -> int | None:
    """Bytes that the tensor takes of the binary part, or None where its data stands in the JSON part."""
    parameters = raw.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadInput(f"input {name!r}: parameters is {json_kind(parameters)}, expected an object")
    if "shared_memory_region" in parameters:
        raise BadInput(f"input {name!r}: shared memory is not supported, send the data with the request")
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in raw):
        raise BadInput(f"input {name!r} needs either data or the parameter binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise MalformedRequest(f"input {name!r}: binary_data_size is {json_kind(size)}, expected a number of bytes")
    return size


def _wanted(request: dict[str, Any], specs: tuple[OutputSpec, ...]) -> tuple[tuple[OutputSpec, bool], ...]:
    everything_binary = _flag("parameters", request, "binary_data_output", default=False)
    outputs = request.get("outputs")
    if outputs is None or outputs == []:
        return tuple((spec, everything_binary) for spec in specs)
    if not isinstance(outputs, list):
        raise BadInput(f"outputs is {json_kind(outputs)}, expected a list")
    known = {spec.name: spec for spec in specs}
    wanted: dict[str, tuple[OutputSpec, bool]] = {}
    for index, raw in enumerate(outputs):
        name = raw.get("name") if isinstance(raw, dict) else None
        if not isinstance(name, str) or name not in known:
            raise BadInput(
                f"outputs[{index}] asks for {json_kind(name if isinstance(raw, dict) else raw)}, "
                f"the model gives {', '.join(known)}"
            )
        if name in wanted:
            raise BadInput(f"output {name!r} stands more than once")
        wanted[name] = (known[name], _flag(f"output {name!r}: parameters", raw, "binary_data", everything_binary))
    return tuple(wanted.values())


def _flag(where: str, holder: dict[str, Any], key: str, default: bool) -> bool:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadInput(f"{where} is {json_kind(parameters)}, expected an object")
    for unsupported in ("classification", "shared_memory_region"):
        if unsupported in parameters:
            raise BadInput(f"{where}: {unsupported} is not supported")
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where}: {key} is {json_kind(value)}, expected true or false")
    return value
