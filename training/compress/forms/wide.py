"""Models whose weights have 64 bits, written with 32: half the bytes, and what every other form is made of."""

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto, numpy_helper

from training.compress.forms.branches import graphs_within

_TYPE_NAMES = ("to", "dtype", "output_dtype")  # of attributes that hold a type


def has_wide_weights(graph: GraphProto) -> bool:
    """Whether a matrix or larger constant has 64 bits. Single numbers may have them in any model."""
    return any(
        tensor.data_type == TensorProto.DOUBLE and len(tensor.dims) >= 2
        for each in graphs_within(graph)
        for tensor in each.initializer
    )


def in_32_bits(model: ModelProto) -> ModelProto:
    """A copy that holds and computes in 32 bits what had 64. Numbers beyond them become 0 or infinity."""
    narrow = ModelProto()
    narrow.CopyFrom(model)
    for graph in graphs_within(narrow.graph):
        for tensor in graph.initializer:
            _narrow_tensor(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            _narrow_value(value)
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            _narrow_attribute(attribute)
    return narrow


def _narrow_attribute(attribute: AttributeProto) -> None:
    if attribute.name in _TYPE_NAMES and attribute.i == TensorProto.DOUBLE:
        attribute.i = TensorProto.FLOAT
    for tensor in (attribute.t, *attribute.tensors) if attribute.HasField("t") else attribute.tensors:
        _narrow_tensor(tensor)


def _narrow_tensor(tensor: TensorProto) -> None:
    if tensor.data_type != TensorProto.DOUBLE:
        return
    with np.errstate(over="ignore"):  # whether that matters shows in the answers
        values = np.asarray(numpy_helper.to_array(tensor)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _narrow_value(value: ValueInfoProto) -> None:
    if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type == TensorProto.DOUBLE:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
