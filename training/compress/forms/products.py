"""Matrix products with constant weights, as they stand in an ONNX graph. Shape letters: I inputs, O outputs."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from training.compress.errors import NotMade
from training.compress.forms.branches import has_branches, names_taken
from training.compress.forms.files import check_size, one_line
from training.compress.forms.wide import has_wide_weights
from training.compress.quiet import quiet

MIN_LAYER_WEIGHTS = 16_384  # a smaller product takes less time in fp32 than quantizing its input does


def load_folded(source: Path) -> onnx.ModelProto:
    """The model with constants folded and shapes inferred: weights reach their products without a Transpose.

    Raises:
        NotMade: ONNX Runtime cannot prepare it, or its weights have 64 bits.
    """
    check_size(source.stat().st_size)
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        folded = Path(scratch) / "folded.onnx"
        try:
            quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        except Exception as error:  # RuntimeError and onnxruntime's own classes, which share no public base
            raise NotMade(f"ONNX Runtime cannot prepare it: {one_line(error)}") from error
        model = onnx.load(folded)
    if has_wide_weights(model.graph):
        raise NotMade("its weights have 64 bits, and forms are made of 32")
    return model


def no_large_product(graph: onnx.GraphProto) -> NotMade:
    """Says that nothing of a graph was quantized. What stands in a branch of it is left as it is."""
    where = " outside its branches" if has_branches(graph) else ""
    return NotMade(f"it has no matrix product with {MIN_LAYER_WEIGHTS:,} constant weights or more{where}")


def large_weight(node: NodeProto, weights: dict[str, TensorProto]) -> np.ndarray | None:
    """The constant fp32 weight (I, O) of a product with `MIN_LAYER_WEIGHTS` elements or more, else None.

    Args:
        node: any.
        weights: the graph's initializers by name.
    """
    if node.op_type not in ("MatMul", "Gemm") or (tensor := weights.get(node.input[1])) is None:
        return None
    if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2 or np.prod(tensor.dims) < MIN_LAYER_WEIGHTS:
        return None
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
        return None
    weight = numpy_helper.to_array(tensor)
    return weight.T if settings.get("transB", 0) else weight


def drop_unused_weights(graph: onnx.GraphProto) -> None:
    """Remove initializers that no node takes any more, nor a node of a branch."""
    used = names_taken(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def need_domain(model: onnx.ModelProto, domain: str, version: int = 1) -> None:
    """Declare that the model has operators of a domain."""
    if not any(opset.domain == domain for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(domain, version))
