"""Static int8: what it is made of, and why it is not made."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.training.compress.forms.made import made
from training.compress.errors import NotMade
from training.compress.forms.static_int8 import static_int8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_no_number_is_named(value: float, tmp_path: Path) -> None:
    model = made("mlp")
    rows = {name: values.copy() for name, values in model.rows.items()}
    rows["numeric"][17, 1] = rows["numeric"][23, 0] = value
    with pytest.raises(NotMade) as caught:
        static_int8(model.fp32, tmp_path / "int8.onnx", rows)
    assert caught.value.message.startswith("numeric of training row 17 is NaN or infinite, as of 2 of 40 rows")
    assert list(tmp_path.iterdir()) == []


def test_without_rows_there_is_nothing_to_range_by(tmp_path: Path) -> None:
    model = made("mlp")
    for rows in ({}, {name: values[:0] for name, values in model.rows.items()}):
        with pytest.raises(NotMade, match="no training rows"):
            static_int8(model.fp32, tmp_path / "int8.onnx", rows)


def test_rows_of_another_shape_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotMade, match=r"onnxruntime\.quantization fails: ") as caught:
        static_int8(made("resnet").fp32, tmp_path / "int8.onnx", {"image": np.zeros((4, 1, 9), np.float32)})
    assert "\n" not in caught.value.message


def test_a_model_without_constant_weights_is_not_quantized(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["numeric"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["numeric", "turned"], ["scores"]),
        ],
        "of two activations",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "source.onnx")
    with pytest.raises(NotMade, match="no convolution and no matrix product with constant weights"):
        static_int8(tmp_path / "source.onnx", tmp_path / "int8.onnx", {"numeric": np.ones((4, 4), np.float32)})


def test_weights_have_7_bits_a_scale_each_channel_and_activations_none_below_0(tmp_path: Path) -> None:
    """8 bits of weights overflow on CPUs without VNNI; signed activations make convolutions 3 times slower."""
    model = made("resnet")
    static_int8(model.fp32, tmp_path / "int8.onnx", model.rows)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    matrices = [node for node in weights if tensors[node.input[0]].ndim >= 2]
    assert len(matrices) > 5
    for node in matrices:
        values, scale = tensors[node.input[0]], tensors[node.input[1]]
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() <= 64
        assert scale.size in (values.shape[0], values.shape[-1])
    activations = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {tensors[node.input[2]].dtype for node in activations} == {np.dtype(np.uint8)}


def test_products_of_two_activations_stay_as_they_are(tmp_path: Path) -> None:
    model = made("transformer")
    static_int8(model.fp32, tmp_path / "int8.onnx", model.rows)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    producers = {name: node.op_type for node in graph.node for name in node.output}
    inputs = [[producers.get(name) for name in node.input] for node in graph.node if node.op_type == "MatMul"]
    assert inputs.count(["DequantizeLinear", "DequantizeLinear"]) >= 4  # in, out, and two of the feed-forward layer
    assert sum("DequantizeLinear" not in each for each in inputs) == 2  # query with key, attention with value
