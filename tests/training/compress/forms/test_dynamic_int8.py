"""Quantizing: weights really are in 8 bits, answers stay close, and no row depends on its company."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.compress.forms import products
from training.compress.forms.dynamic_int8 import quantize_int8
from training.compress.forms.export import export_onnx
from training.compress.forms.weights import weights_quantized_fraction
from training.models.convnet import ConvNet
from training.models.mlp import Mlp
from training.package.runtime import VariantRunner

RNG = np.random.default_rng(0)
TABLE = {"numeric": RNG.normal(size=(64, 20)).astype(np.float32), "categorical": RNG.integers(0, 8, (64, 3))}
IMAGES = {"image": RNG.normal(size=(64, 1, 8, 8)).astype(np.float32)}


def both_forms(model: nn.Module, rows: dict[str, np.ndarray], folder: Path) -> tuple[Path, Path, int]:
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    export_onnx(model, rows, task="classification", target_mean=0.0, target_scale=1.0, path=fp32)
    return fp32, int8, quantize_int8(fp32, int8)


@pytest.fixture
def wide_mlp() -> nn.Module:
    torch.manual_seed(0)
    return Mlp(20, [8, 8, 8], 4, [256, 256], 0.1, 8)


def test_an_mlp_is_stored_in_a_third_of_the_space_and_answers_nearly_the_same(
    wide_mlp: nn.Module, tmp_path: Path
) -> None:
    fp32, int8, num_layers = both_forms(wide_mlp, TABLE, tmp_path)
    num_weights = sum(p.numel() for p in wide_mlp.parameters() if p.dim() >= 2)
    assert num_layers == 1
    assert weights_quantized_fraction(fp32) == 0
    assert weights_quantized_fraction(int8) == pytest.approx(256 * 256 / num_weights)
    assert int8.stat().st_size < fp32.stat().st_size / 2
    exact, close = VariantRunner(fp32)(TABLE), VariantRunner(int8)(TABLE)
    assert 0 < np.abs(exact - close).max() < 5e-3


def test_an_outlier_does_not_change_the_answers_of_the_rows_beside_it(wide_mlp: nn.Module, tmp_path: Path) -> None:
    """With one scale for the whole batch, as onnxruntime's own dynamic quantization has it, this fails by 0.01."""
    _, int8, _ = both_forms(wide_mlp, TABLE, tmp_path)
    runner = VariantRunner(int8)
    alone = np.concatenate([runner({name: values[i : i + 1] for name, values in TABLE.items()}) for i in range(64)])
    np.testing.assert_allclose(runner(TABLE), alone, atol=1e-6)
    spoiled = {name: values.copy() for name, values in TABLE.items()}
    spoiled["numeric"][0] = 1e9
    np.testing.assert_allclose(runner(spoiled)[1:], alone[1:], atol=1e-6)


def test_a_convnet_keeps_its_convolutions_and_quantizes_its_wide_layer(tmp_path: Path) -> None:
    _, int8, num_layers = both_forms(ConvNet((1, 8, 8), 10, (16, 32), 64, 0.1), IMAGES, tmp_path)
    operators = [node.op_type for node in onnx.load(int8).graph.node]
    assert num_layers == 1
    assert operators.count("Conv") == 4
    assert operators.count("MatMulIntegerToFloat") == 1
    assert "Abs" not in operators  # behind a ReLU and a pooling, all 256 levels stand for positive values
    assert 0.5 < weights_quantized_fraction(int8) < 0.9


def test_small_layers_stay_as_they_are_and_the_file_says_so(tmp_path: Path) -> None:
    fp32, int8, num_layers = both_forms(Mlp(20, [8, 8, 8], 4, [32, 32], 0.0, 8), TABLE, tmp_path)
    assert num_layers == 0
    assert weights_quantized_fraction(int8) == 0
    np.testing.assert_allclose(VariantRunner(int8)(TABLE), VariantRunner(fp32)(TABLE), atol=1e-6)


def test_a_row_of_zeros_does_not_divide_by_zero(wide_mlp: nn.Module, tmp_path: Path) -> None:
    fp32, int8, _ = both_forms(nn.Sequential(nn.Linear(20, 1024, bias=False), nn.ReLU(), nn.Linear(1024, 3)),
                               {"numeric": TABLE["numeric"]}, tmp_path)  # fmt: skip
    zeros = {"numeric": np.zeros((2, 20), np.float32)}
    np.testing.assert_allclose(VariantRunner(int8)(zeros), VariantRunner(fp32)(zeros), atol=1e-6)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_products_match_numpy_within_half_a_level(
    operator: str, trans_b: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "MIN_LAYER_WEIGHTS", 1)
    weight_IO = RNG.normal(size=(20, 6)).astype(np.float32)
    if operator == "MatMul":
        trans_b, attributes = 0, {}
    else:
        attributes = {"transB": trans_b}
    graph = helper.make_graph(
        [helper.make_node(operator, ["numeric", "w"], ["scores"], **attributes)],
        "product",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", 20])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 6])],
        [numpy_helper.from_array(np.ascontiguousarray(weight_IO.T) if trans_b else weight_IO, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "a.onnx")
    assert quantize_int8(tmp_path / "a.onnx", tmp_path / "b.onnx") == 1
    assert weights_quantized_fraction(tmp_path / "b.onnx") == 1
    got, expected = VariantRunner(tmp_path / "b.onnx")({"numeric": TABLE["numeric"]}), TABLE["numeric"] @ weight_IO
    step = np.abs(TABLE["numeric"]).max(axis=1)[:, None] / 127 * np.abs(weight_IO).sum(axis=0) / 2
    step += np.abs(TABLE["numeric"]).sum(axis=1)[:, None] * (np.abs(weight_IO).max(axis=0) / 63) / 2
    assert (np.abs(got - expected) <= step * 1.1).all()


def test_the_limit_of_a_layer_is_what_the_docstring_says() -> None:
    assert products.MIN_LAYER_WEIGHTS == 128 * 128
