"""One named tensor, from JSON or binary to an array and back.

Shapes: a tensor is held flat, in row-major order; its declared shape stands beside it.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from serving.errors import BadInput, MalformedRequest
from training.package.values import as_objects

# Wire layouts of the Open Inference Protocol: little-endian, whatever this machine is.
NUMERIC_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("|u1"),
    "UINT8": np.dtype("|u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("|i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*NUMERIC_DTYPES, "BYTES")

_LENGTH_BYTES = 4  # each BYTES element is preceded by its length, uint32 little-endian
_NONE = type(None)
_TEXTS: frozenset[type] = frozenset({str, _NONE})


class _JsonRule(NamedTuple):
    """What JSON may hold for a datatype."""

    types: frozenset[type]
    expected: str
    low: float  # an int where the datatype is whole: float(2**63) would let one number too many through
    high: float
    span: str  # the two as text


def _json_rule(name: str, dtype: np.dtype[Any]) -> _JsonRule:
    if name == "BOOL":
        return _JsonRule(frozenset({bool, _NONE}), "true, false or null, as its datatype is BOOL", 0, 1, "")
    if dtype.kind == "f":
        limits = np.finfo(min(dtype, np.dtype("<f4"), key=lambda kind: kind.itemsize))
        # Up to half a step above the largest number still rounds to it; clients print that number in fewer digits.
        half_step = 2.0 ** (limits.maxexp - limits.nmant - 2)
        high = math.nextafter(float(limits.max) + half_step, 0.0)
        return _JsonRule(frozenset({int, float, _NONE}), "a number or null", -high, high, f"±{limits.max:g}")
    whole = np.iinfo(dtype)
    expected = f"a whole number or null, as its datatype is {name}"
    low, high = int(whole.min), int(whole.max)
    return _JsonRule(frozenset({int, _NONE}), expected, low, high, f"{low} to {high}")


_JSON_RULES = {name: _json_rule(name, dtype) for name, dtype in NUMERIC_DTYPES.items()}


class Tensor(NamedTuple):
    """A tensor as received: values flat, float32 with NaN for missing, str with None for missing, or bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: np.ndarray


def read_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """A tensor from JSON data, nested like its shape or flat."""
    where = f"input {name!r}"
    flat = flatten(where, shape, data)
    values = text_values(where, flat) if datatype == "BYTES" else number_values(where, flat, datatype)
    return Tensor(name, datatype, shape, values)


def read_binary(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview, *, as_text: bool = True) -> Tensor:
    """A tensor from the binary extension's bytes. BYTES are UTF-8 text, or files where `as_text` is off."""
    where, count = f"input {name!r}", math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _binary_elements(where, raw, count, _text if as_text else _file))
    dtype = NUMERIC_DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise MalformedRequest(
            f"{where}: binary_data_size is {len(raw)}, {datatype} of shape {list(shape)} "
            f"takes {count * dtype.itemsize} bytes"
        )
    values = np.frombuffer(raw, dtype=dtype)
    if datatype == "BOOL" and values.max(initial=0) > 1:
        raise BadInput(f"{where}: a BOOL byte is 0 or 1, got {values.max()}")
    return Tensor(name, datatype, shape, to_float32(where, values))


def to_float32(where: str, values: np.ndarray) -> np.ndarray:
    """Numbers as float32. NaN stays, it means missing; an infinity or what becomes one is refused."""
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if np.isinf(numbers).any():
        index = int(np.isinf(numbers).argmax())
        raise BadInput(f"{where}: element {index} is {values[index]}, beyond the range of float32")
    return numbers


def text_values(where: str, flat: Sequence[Any]) -> np.ndarray:
    """JSON texts as an object array, null as None."""
    if not _TEXTS.issuperset(map(type, flat)):
        raise _wrong_type(where, flat, _TEXTS, "text or null")
    return as_objects(flat)


def number_values(where: str, flat: Sequence[Any], datatype: str = "FP32") -> np.ndarray:
    """JSON numbers of a datatype as float32, null as NaN. Checked in Python: numpy reads "1" and true as numbers."""
    allowed, expected, low, high, span = _JSON_RULES[datatype]
    kinds = set(map(type, flat))
    if not kinds <= allowed:
        raise _wrong_type(where, flat, allowed, expected)
    present = [value for value in flat if value is not None] if _NONE in kinds else flat
    if present and not (low <= min(present) and max(present) <= high):
        index, value = next((i, v) for i, v in enumerate(flat) if v is not None and not low <= v <= high)
        raise BadInput(f"{where}: element {index} is {value}, beyond the range of {datatype}, {span}")
    if datatype == "FP16":
        return np.array(flat, dtype=np.float16).astype(np.float32)
    return np.array(flat, dtype=np.float32)


def flatten(where: str, shape: tuple[int, ...], data: Any) -> Sequence[Any]:
    """The values of a JSON tensor in row-major order. The data is flat, or nested like the shape all the way."""
    if not isinstance(data, list):
        raise BadInput(f"{where} is {json_kind(data)}, expected a list")
    count = math.prod(shape)
    if not data or not isinstance(data[0], list):
        if len(data) != count:
            raise BadInput(f"{where}: shape {list(shape)} takes {count} values, there are {len(data)}")
        return data
    level: list[Any] = [data]
    for axis, length in enumerate(shape):
        if any(not isinstance(part, list) or len(part) != length for part in level):
            raise BadInput(
                f"{where} is not nested like {list(shape)}: along axis {axis} not every part is {length} long"
            )
        level = list(chain.from_iterable(level))
    return level


def write_binary(values: np.ndarray) -> bytes:
    """The binary extension's bytes: of float32, or of texts or files, each behind its length."""
    if values.dtype != object:
        return values.astype("<f4", copy=False).tobytes()
    pieces = [value if isinstance(value, bytes) else value.encode() for value in values.ravel()]
    return b"".join(len(piece).to_bytes(_LENGTH_BYTES, "little") + piece for piece in pieces)


def _text(where: str, index: int, raw: memoryview) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: element {index} is not UTF-8: {error.reason}") from None


def _file(_where: str, _index: int, raw: memoryview) -> bytes:
    return bytes(raw)


def _binary_elements(
    where: str, raw: memoryview, count: int, read: Callable[[str, int, memoryview], str | bytes]
) -> np.ndarray:
    elements: list[str | bytes] = []
    position = 0
    while position < len(raw):
        start = position + _LENGTH_BYTES
        end = start + int.from_bytes(raw[position:start], "little")
        if start > len(raw) or end > len(raw):
            raise MalformedRequest(f"{where}: the bytes end within element {len(elements)}")
        elements.append(read(where, len(elements), raw[start:end]))
        position = end
    if len(elements) != count:
        raise MalformedRequest(f"{where}: its shape takes {count} elements, its bytes hold {len(elements)}")
    return as_objects(elements)


def _wrong_type(where: str, flat: Sequence[Any], allowed: frozenset[type], expected: str) -> BadInput:
    index, value = next((i, value) for i, value in enumerate(flat) if type(value) not in allowed)
    return BadInput(f"{where}: element {index} is {json_kind(value)}, expected {expected}")


def json_kind(value: Any) -> str:
    """How a JSON value is called when it is the wrong one; short, and without its content if that may be long."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r}" if len(value) <= 40 else f"a text of {len(value)} characters"
        case list():
            return "a list"
    return "an object"
