"""4-bit weights for ONNX: ONNX Runtime has kernels for matrix products, and for nothing else.

Weights are stored in blocks of 32 with a scale each; activations are quantized to int8 row by row as they arrive, so
that a row's answer does not depend on its company.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from training.compress.errors import NotMade
from training.compress.forms.branches import graphs_within
from training.compress.forms.files import one_line, save_onnx
from training.compress.forms.products import drop_unused_weights, large_weight, load_folded, no_large_product
from training.compress.quiet import quiet

BLOCK_SIZE = 32
_INT8_ACTIVATIONS = 4  # "accuracy level" of MatMulNBits


def int4_weights(source: Path, target: Path) -> None:
    """Write the form of an ONNX file whose large matrix products have 4-bit weights.

    Raises:
        NotMade: there is no such product, or ONNX Runtime fails.
    """
    model = load_folded(source)
    small = _plain_products(model.graph)
    try:
        with quiet():
            quantizer = MatMulNBitsQuantizer(
                model,
                bits=4,
                block_size=BLOCK_SIZE,
                is_symmetric=True,
                accuracy_level=_INT8_ACTIVATIONS,
                nodes_to_exclude=small,
                op_types_to_quantize=("MatMul",),
            )
            quantizer.process()
    except Exception as error:  # whatever a kernel raises
        raise NotMade(f"onnxruntime.quantization fails: {one_line(error)}") from error
    quantized: onnx.ModelProto = quantizer.model.model
    if not any(node.op_type == "MatMulNBits" for node in quantized.graph.node):
        raise no_large_product(quantized.graph)
    drop_unused_weights(quantized.graph)
    save_onnx(quantized, target)


def _plain_products(graph: onnx.GraphProto) -> list[str]:
    """Make each large Gemm a MatMul and an Add: the quantizer passes others over. Returns the products to leave."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    # The quantizer goes into branches, and would take small products there too.
    small = _named(node for inner in list(graphs_within(graph))[1:] for node in inner.node)
    _named(graph.node)
    for node in graph.node:
        weight_IO = large_weight(node, weights)
        if weight_IO is None:
            small.append(node.name)
            nodes.append(node)
        elif node.op_type == "MatMul":
            nodes.append(node)
        else:
            plain_name = f"{node.input[1]}/plain"
            if plain_name not in weights:
                weights[plain_name] = numpy_helper.from_array(np.ascontiguousarray(weight_IO), plain_name)
                graph.initializer.append(weights[plain_name])
            nodes += _product_and_sum(node, plain_name)
    del graph.node[:]
    graph.node.extend(nodes)
    return small


def _named(nodes: Iterable[NodeProto]) -> list[str]:
    """Their names, which they are given where they have none."""
    names: list[str] = []
    for node in nodes:
        node.name = node.name or f"node_of_{node.output[0]}"
        names.append(node.name)
    return names


def _product_and_sum(gemm: NodeProto, weight: str) -> list[NodeProto]:
    output = gemm.output[0]
    if len(gemm.input) < 3 or not gemm.input[2]:
        return [helper.make_node("MatMul", [gemm.input[0], weight], [output], name=gemm.name)]
    product = f"{output}_product"
    return [
        helper.make_node("MatMul", [gemm.input[0], weight], [product], name=gemm.name),
        helper.make_node("Add", [product, gemm.input[2]], [output], name=f"{gemm.name}_bias"),
    ]
