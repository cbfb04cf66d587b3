"""How a file stores its weights, read from the file itself: tensors of two axes or more."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from training.compress.forms.branches import graphs_within

_FULL = (TensorProto.FLOAT, TensorProto.DOUBLE)
_FEWER_BITS = (
    TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4,
    TensorProto.UINT4, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2,
)  # fmt: skip
_ZERO_OF_4_BITS = 8  # where MatMulNBits is given no zero points

# Of torch.export's archives: number of a dtype -> type to read its bytes as, and the bits that are not its sign.
_FULL_DTYPES = {7: (np.uint32, 0x7FFFFFFF), 8: (np.uint64, 0x7FFFFFFFFFFFFFFF)}
_FEWER_DTYPES = {
    1: (np.uint8, 0xFF), 2: (np.uint8, 0xFF),  # uint8, int8
    6: (np.uint16, 0x7FFF), 13: (np.uint16, 0x7FFF),  # fp16, bf16
    29: (np.uint8, 0x7F), 30: (np.uint8, 0x7F),  # fp8: e4m3, e5m2
}  # fmt: skip


@dataclass(frozen=True)
class _Weight:
    num_elements: int
    num_nonzero: int
    fewer_bits: bool


def weights_quantized_fraction(path: Path) -> float:
    """Share of weight elements that an ONNX or `.pt2` file stores in fewer than 32 bits."""
    weights = list(_weights(path))
    total = sum(weight.num_elements for weight in weights)
    return sum(weight.num_elements for weight in weights if weight.fewer_bits) / total if total else 0.0


def num_weights_nonzero(path: Path) -> int:
    """Weight elements of an ONNX or `.pt2` file that mean something else than 0."""
    return sum(weight.num_nonzero for weight in _weights(path))


def _weights(path: Path) -> Iterator[_Weight]:
    if path.suffix == ".pt2":
        yield from _of_program(path)
        return
    for graph in graphs_within(onnx.load(path).graph):
        yield from _of_graph(graph)


def _of_graph(graph: GraphProto) -> Iterator[_Weight]:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    zero_points = {
        node.input[0]: numpy_helper.to_array(tensors[node.input[2]])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[2] in tensors
    }
    packed = [node for node in graph.node if node.op_type == "MatMulNBits"]
    seen = {name for node in packed for name in node.input[1:]}
    yield from (_four_bits(node, tensors) for node in packed)
    for name, tensor in tensors.items():
        if name in seen or len(tensor.dims) < 2 or tensor.data_type not in _FULL + _FEWER_BITS:
            continue
        values = numpy_helper.to_array(tensor)
        zero = zero_points.get(name, np.zeros((), values.dtype))
        if zero.ndim and not zero.any():  # one a channel, along any axis
            zero = zero.flat[0]
        yield _Weight(values.size, int(np.count_nonzero(values != zero)), tensor.data_type in _FEWER_BITS)


def _four_bits(node: NodeProto, tensors: dict[str, TensorProto]) -> _Weight:
    """A product whose weight (O, I) lies in blocks of two elements a byte; the last block of a row may be padded."""
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    num_inputs, num_outputs = settings["K"], settings["N"]
    assert settings["bits"] == 4, "no other is made"
    assert len(node.input) < 4 or not node.input[3], "made symmetric: without zero points"
    bytes_OBb = numpy_helper.to_array(tensors[node.input[1]])
    levels_OI = np.stack([bytes_OBb & 15, bytes_OBb >> 4], axis=-1).reshape(num_outputs, -1)[:, :num_inputs]
    return _Weight(num_inputs * num_outputs, int(np.count_nonzero(levels_OI != _ZERO_OF_4_BITS)), fewer_bits=True)


def _of_program(path: Path) -> Iterator[_Weight]:
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        config = json.loads(archive.read(f"{root}/data/weights/model_weights_config.json"))["config"]
        seen: set[str] = set()
        for name, entry in config.items():
            meta, place = entry["tensor_meta"], entry["path_name"]
            # A quantized weight comes as its parts: the first is the weight, the others are scales.
            is_scale = ".parametrizations." in name and not name.endswith(".original0")
            dtype = meta["dtype"]
            if is_scale or len(meta["sizes"]) < 2 or place in seen or dtype not in _FULL_DTYPES | _FEWER_DTYPES:
                continue
            seen.add(place)  # tied weights are stored once
            kind, magnitude = (_FULL_DTYPES | _FEWER_DTYPES)[dtype]
            stored = np.frombuffer(archive.read(f"{root}/data/weights/{place}"), kind)
            yield _Weight(stored.size, int(np.count_nonzero(stored & kind(magnitude))), dtype in _FEWER_DTYPES)
