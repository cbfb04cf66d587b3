"""How weights are stored, counted in files made by hand."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from training.compress.forms.weights import num_weights_nonzero, weights_quantized_fraction

VALUES = np.array([[0, 1, -2], [3, 0, 0]])


def with_weights(path: Path, tensors: dict[str, np.ndarray], nodes: list[onnx.NodeProto] | None = None) -> Path:
    initializers = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes or [], "weights", [], [], initializers)), path)
    return path


@pytest.mark.parametrize(
    ("dtype", "fraction"),
    [(np.float32, 0), (np.float64, 0), (np.float16, 1), (ml_dtypes.bfloat16, 1), (np.int8, 1), (ml_dtypes.int4, 1)],
)
def test_fewer_bits_are_told_by_the_type(dtype: type, fraction: float, tmp_path: Path) -> None:
    path = with_weights(tmp_path / "a.onnx", {"w": VALUES.astype(dtype)})
    assert weights_quantized_fraction(path) == fraction
    assert num_weights_nonzero(path) == 3


def test_biases_scales_and_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    tensors = {
        "bias": np.ones(7, np.float32), "places": np.ones((5, 5), np.int64), "w": np.ones((2, 3), np.float32),
        "q": np.ones((2, 3), np.int8),
    }  # fmt: skip
    path = with_weights(tmp_path / "a.onnx", tensors)
    assert weights_quantized_fraction(path) == 0.5
    assert num_weights_nonzero(path) == 12


@pytest.mark.parametrize("zero", [np.uint8(3), np.array([3, 3, 3], np.uint8)])
def test_a_level_that_means_0_is_one(zero: np.ndarray, tmp_path: Path) -> None:
    tensors = {"w": (VALUES + 3).astype(np.uint8), "scale": np.ones_like(zero, np.float32), "zero": np.asarray(zero)}
    node = helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["real"], axis=1)
    assert num_weights_nonzero(with_weights(tmp_path / "a.onnx", tensors, [node])) == 3


def test_of_4_bits_two_lie_in_a_byte_and_what_fills_a_block_up_is_no_weight(tmp_path: Path) -> None:
    levels_OI = np.full((2, 32), 8, np.uint8)  # the level of 0
    levels_OI[0, :3] = 1, 15, 7
    levels_OI[1, 20:] = 0  # behind the 20 inputs
    packed = (levels_OI[:, ::2] | levels_OI[:, 1::2] << 4).reshape(2, 1, 16)
    node = helper.make_node(
        "MatMulNBits", ["numeric", "w", "scales"], ["scores"], domain="com.microsoft", K=20, N=2, bits=4, block_size=32
    )
    tensors = {"w": packed, "scales": np.ones((2, 1), np.float32), "other": np.ones((2, 30), np.float32)}
    path = with_weights(tmp_path / "a.onnx", tensors, [node])
    assert weights_quantized_fraction(path) == 0.4
    assert num_weights_nonzero(path) == 3 + 60


@pytest.mark.parametrize(("dtype", "fraction"), [(torch.float32, 0), (torch.bfloat16, 1), (torch.float16, 1)])
def test_programs_of_torch_are_read_without_torch(dtype: torch.dtype, fraction: float, tmp_path: Path) -> None:
    layer = nn.Linear(3, 2).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(VALUES))
        layer.weight[0, 0] = -0.0
    program = torch.export.export(layer, (torch.ones(4, 3, dtype=dtype),))
    torch.export.save(program, tmp_path / "a.pt2")
    assert weights_quantized_fraction(tmp_path / "a.pt2") == fraction
    assert num_weights_nonzero(tmp_path / "a.pt2") == 3


def test_a_file_without_weights_has_none_in_fewer_bits(tmp_path: Path) -> None:
    path = with_weights(tmp_path / "a.onnx", {})
    assert weights_quantized_fraction(path) == 0
    assert num_weights_nonzero(path) == 0
