"""Dynamic int8 for ONNX: weights stored in 8 bits, each row of activations quantized as it arrives.

Weights are as in onnxruntime's `quantize_dynamic(per_channel=True, reduce_range=True)`. Activations differ: there one
scale serves the whole batch, so that an outlier in one request spoils the answers of those it was batched with.
Here every row has its own scale, and its answer does not depend on its company.

Convolutions stay fp32: onnxruntime's ConvInteger is 3 to 9 times slower than its fp32 one.
Shape letters: I inputs, O outputs of one layer.
"""

from pathlib import Path

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from training.compress.forms.files import save_onnx
from training.compress.forms.products import drop_unused_weights, large_weight, load_folded, need_domain

WEIGHT_LEVELS = 63  # 7 bits: with 8, sums of two products overflow 16 bits on CPUs without VNNI, and answers are wrong
MIN_SCALE = np.float32(1e-30)  # a row of zeros must not divide by zero

_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Abs"})
_KEEPS_SIGN = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Identity", "Dropout"})


def quantize_int8(source: Path, target: Path) -> int:
    """Write an int8 form of an ONNX file. Returns how many layers were quantized, which may be 0.

    Raises:
        NotMade: ONNX Runtime does not take the file, or what became of it.
    """
    model = load_folded(source)
    num_layers = _Rewriter(model.graph).run()
    if num_layers:
        need_domain(model, "com.microsoft")
    save_onnx(model, target)
    return num_layers


class _Rewriter:
    """Replaces the large matrix products of one graph."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.added: dict[str, TensorProto] = {}
        self.rows: dict[str, tuple[str, str, str]] = {}  # activation -> its quantized form, scale and zero point
        self.nodes: list[NodeProto] = []

    def run(self) -> int:
        """Rewrite in place; returns the number of layers quantized."""
        num_layers = 0
        for node in self.graph.node:
            weight_IO = large_weight(node, self.weights)
            if weight_IO is None:
                self.nodes.append(node)
            else:
                self._replace(node, weight_IO)
                num_layers += 1
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(self.added.values())
        drop_unused_weights(self.graph)
        return num_layers

    def _replace(self, node: NodeProto, weight_IO: np.ndarray) -> None:
        quantized, scale, zero_point = self._quantized_rows(node.input[0])
        weight_scale_O = np.maximum(np.abs(weight_IO).max(axis=0) / WEIGHT_LEVELS, MIN_SCALE).astype(np.float32)
        eight_bits_IO = np.rint(weight_IO / weight_scale_O).astype(np.int8)
        name, output = node.input[1], node.output[0]
        product, bias = f"{output}_product", node.input[2] if len(node.input) > 2 else None
        # Given the rows' scales here, onnxruntime would silently use the first one for all: hence the Mul after it.
        inputs = [
            quantized,
            self._constant(f"{name}_int8", eight_bits_IO),
            self._constant("one", np.float32(1)),
            self._constant(f"{name}_scale", weight_scale_O),
            zero_point,
        ]
        self.nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [product], domain="com.microsoft"))
        scaled = f"{output}_scaled" if bias else output
        self.nodes.append(helper.make_node("Mul", [product, scale], [scaled]))
        if bias:
            self.nodes.append(helper.make_node("Add", [scaled, bias], [output]))

    def _quantized_rows(self, activation: str) -> tuple[str, str, str]:
        """Names of the activation in uint8, of its scales (..., 1) and of its zero point. Made once an activation."""
        if activation in self.rows:
            return self.rows[activation]
        unsigned = self._never_negative(activation)
        zero_point, levels = (0, 255) if unsigned else (128, 127)
        highest, raw_scale, scale = f"{activation}_highest", f"{activation}_raw_scale", f"{activation}_scale"
        unit, quantized = f"{activation}_unit", f"{activation}_uint8"
        magnitude = activation if unsigned else f"{activation}_magnitude"
        zero_name = self._constant(f"zero_at_{zero_point}", np.uint8(zero_point))
        axis = self._constant("last_axis", np.array([-1], dtype=np.int64))
        step = self._constant(f"one_of_{levels}", np.float32(1 / levels))
        least = self._constant("least_scale", MIN_SCALE)
        if not unsigned:
            self.nodes.append(helper.make_node("Abs", [activation], [magnitude]))
        self.nodes += [
            helper.make_node("ReduceMax", [magnitude, axis], [highest], keepdims=1),
            helper.make_node("Mul", [highest, step], [raw_scale]),
            helper.make_node("Max", [raw_scale, least], [scale]),
            helper.make_node("Div", [activation, scale], [unit]),
            helper.make_node("QuantizeLinear", [unit, self._constant("one", np.float32(1)), zero_name], [quantized]),
        ]
        self.rows[activation] = quantized, scale, zero_name
        return self.rows[activation]

    def _never_negative(self, activation: str) -> bool:
        """Known to hold no negative value, so that all 256 levels may stand for positive ones."""
        node = self.producers.get(activation)
        while node is not None and node.op_type in _KEEPS_SIGN:
            node = self.producers.get(node.input[0])
        return node is not None and node.op_type in _NEVER_NEGATIVE

    def _constant(self, name: str, value: np.ndarray | np.generic) -> str:
        name = f"int8/{name}"
        self.added[name] = numpy_helper.from_array(np.asarray(value), name)
        return name
