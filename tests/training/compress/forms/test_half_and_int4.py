"""fp16 and 4-bit weights: what stays in fp32, and how near the products come."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from tests.training.compress.forms.made import made
from training.compress.forms.export import export_onnx
from training.compress.forms.half import fp16
from training.compress.forms.int4 import int4_weights
from training.compress.forms.weights import num_weights_nonzero, weights_quantized_fraction
from training.models.mlp import Mlp
from training.package.runtime import VariantRunner

NUMERIC = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)


def test_fp16_answers_with_numbers_that_fp16_does_not_hold(tmp_path: Path) -> None:
    """Prices of houses: 65,504 is the largest number of fp16, and near it every 32nd one is missing."""
    torch.manual_seed(0)
    model = Mlp(5, [], 1, [32], 0.0, 4).eval()
    rows = {"numeric": NUMERIC}
    export_onnx(model, rows, task="regression", target_mean=2e5, target_scale=8e4, path=tmp_path / "fp32.onnx")
    fp16(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx")
    exact, half = VariantRunner(tmp_path / "fp32.onnx")(rows), VariantRunner(tmp_path / "fp16.onnx")(rows)
    assert exact.max() > 65504
    assert 0 < np.abs(exact - half).max() < 8e4 * 1e-3


def test_fp16_is_what_the_file_holds_and_neither_what_it_takes_nor_gives(tmp_path: Path) -> None:
    fp16(made("mlp").fp32, tmp_path / "fp16.onnx")
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) >= 2}
    assert TensorProto.FLOAT not in kinds
    ends = {each.name: each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)}
    assert ends["numeric"] == ends["scores"] == TensorProto.FLOAT
    assert ends["categorical"] == ends["tokens"] == TensorProto.INT64


@pytest.mark.parametrize("bias", [True, False])
def test_int4_replaces_what_torch_writes_as_gemm_and_leaves_small_layers(bias: bool, tmp_path: Path) -> None:
    """onnxruntime's quantizer passes a Gemm over: of an MLP it would leave everything as it is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 150, bias=bias), nn.ReLU(), nn.Linear(150, 150, bias=bias), nn.Linear(150, 3))
    rows = {"numeric": NUMERIC}
    export_onnx(model, rows, task="classification", target_mean=0.0, target_scale=1.0, path=tmp_path / "fp32.onnx")
    int4_weights(tmp_path / "fp32.onnx", tmp_path / "int4.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "int4.onnx").graph.node]
    assert operators.count("MatMulNBits") == 1
    assert weights_quantized_fraction(tmp_path / "int4.onnx") == pytest.approx(150 * 150 / (150 * 158))
    assert 0.8 * 150 * 158 < num_weights_nonzero(tmp_path / "int4.onnx") < 150 * 158  # 150 = 4 blocks of 32, and 22
    exact, near = VariantRunner(tmp_path / "fp32.onnx")(rows), VariantRunner(tmp_path / "int4.onnx")(rows)
    assert 0 < np.abs(exact - near).max() < 0.05
