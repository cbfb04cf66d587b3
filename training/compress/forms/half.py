"""fp16 for ONNX: half the bytes. On CPUs it is rarely faster, as ONNX Runtime has few fp16 kernels there."""

from pathlib import Path

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from training.compress.errors import NotMade
from training.compress.forms.branches import graphs_within, sort_nodes
from training.compress.forms.files import one_line, save_onnx
from training.compress.forms.products import load_folded
from training.compress.quiet import quiet

MAX_FP16 = float(np.finfo(np.float16).max)
# The end of a graph turns logits into the answer: probabilities, the target's own unit, or the sum over a text's bytes.
_ANSWERING = frozenset({
    "Softmax", "LogSoftmax", "Sigmoid", "Mul", "Add", "Sub", "Div", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Where",
    "GatherElements", "ReduceSum",
})  # fmt: skip


def fp16(source: Path, target: Path) -> None:
    """Write the fp16 form of an ONNX file. Inputs and outputs stay fp32, and so does the end that makes the answer.

    Raises:
        NotMade: a weight is larger than fp16 holds, or ONNX Runtime fails.
    """
    model = load_folded(source)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    answering = _answering(model.graph)
    _check_range(model.graph, {node.name for node in answering})
    try:
        with quiet():
            converted = convert_float_to_float16(
                model, keep_io_types=True, node_block_list=[node.name for node in answering]
            )
            _join_casts(converted.graph)
            sort_nodes(converted.graph)  # casts stand at the end
    except Exception as error:  # ValueError, and whatever shape inference raises
        raise NotMade(f"onnxruntime.transformers fails: {one_line(error)}") from error
    save_onnx(converted, target)


def _answering(graph: GraphProto) -> list[NodeProto]:
    """The nodes from the answer back to the last layer: fp16 holds neither the price of a house nor a text's sum."""
    producers = {name: node for node in graph.node for name in node.output}
    found: dict[str, NodeProto] = {}
    names = [output.name for output in graph.output]
    while names:
        node = producers.get(names.pop())
        if node is not None and node.op_type in _ANSWERING and node.name not in found:
            found[node.name] = node
            names += node.input
    return list(found.values())


def _join_casts(graph: GraphProto) -> None:
    """The converter casts what each fp32 node gives to fp16 and back for the next one, which would cut it there."""
    to_fp16 = {node.output[0]: node for node in graph.node if _casts_to(node, TensorProto.FLOAT16)}
    for node in graph.node:
        if _casts_to(node, TensorProto.FLOAT) and (before := to_fp16.get(node.input[0])) is not None:
            node.input[0] = before.input[0]


def _casts_to(node: NodeProto, data_type: int) -> bool:
    return node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == data_type


def _check_range(graph: GraphProto, answering: set[str]) -> None:
    """The converter would silently cut what is too large."""
    within = list(graphs_within(graph))
    taken = {name for each in within for node in each.node if node.name not in answering for name in node.input}
    for tensor in (tensor for each in within for tensor in each.initializer):
        if tensor.name in taken and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 1:
            values = np.abs(numpy_helper.to_array(tensor))
            if (finite := values[np.isfinite(values)]).size and finite.max() > MAX_FP16:
                raise NotMade(f"{tensor.name} holds {finite.max():.4g}, and fp16 ends at {MAX_FP16:.0f}")
