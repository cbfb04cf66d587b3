"""Models of 64 bits: their fp32 form has 32, and so all forms can be made of it; one that needs 64 keeps them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from training.compress.errors import NotMade
from training.compress.forms.export import export_onnx
from training.compress.forms.make import FORMS, make_onnx_form
from training.compress.forms.weights import weights_quantized_fraction
from training.compress.forms.wide import has_wide_weights
from training.package.runtime import VariantRunner

WIDTH = 136
ROWS = {"numeric": np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float32)}
CLOSE = {"int8": 0.02, "int8_static": 0.05, "int4": 0.1, "fp16": 0.002}


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        ).double()  # fmt: skip

    def forward(self, numeric: Tensor) -> Tensor:
        return self.layers(numeric.double() * torch.full((1,), 2.0, dtype=torch.float64))


class NeedsAll(Wide):
    """A difference that 32 bits do not see."""

    def forward(self, numeric: Tensor) -> Tensor:
        far = numeric.double() + 1e9
        return self.layers(far - 1e9)


def exported(model: nn.Module, path: Path) -> np.ndarray:
    """What torch answers."""
    few = {"numeric": ROWS["numeric"][:4]}
    export_onnx(model, few, task="classification", target_mean=0.0, target_scale=1.0, path=path)
    with torch.no_grad():
        return model.eval()(torch.from_numpy(ROWS["numeric"])).softmax(dim=-1).numpy()


def test_the_fp32_form_has_32_bits_and_every_other_form_is_made_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = tmp_path / "fp32.onnx"
    expected = exported(Wide(), source)
    graph = onnx.load(source).graph
    assert {tensor.data_type for tensor in graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
    assert source.stat().st_size < 4.5 * WIDTH * (WIDTH + 8)
    np.testing.assert_allclose(VariantRunner(source)(ROWS), expected, atol=1e-5)
    for form in FORMS:
        make_onnx_form(form, source, tmp_path / f"{form}.onnx", ROWS)
        assert weights_quantized_fraction(tmp_path / f"{form}.onnx") > 0.9
        np.testing.assert_allclose(VariantRunner(tmp_path / f"{form}.onnx")(ROWS), expected, atol=CLOSE[form])


def test_a_model_whose_answers_need_64_bits_keeps_them_and_says_why_it_has_no_other_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = tmp_path / "fp32.onnx"
    expected = exported(NeedsAll(), source)
    assert has_wide_weights(onnx.load(source).graph)
    np.testing.assert_allclose(VariantRunner(source)(ROWS), expected, atol=1e-6)
    for form in FORMS:
        with pytest.raises(NotMade, match="its weights have 64 bits, and forms are made of 32"):
            make_onnx_form(form, source, tmp_path / "form.onnx", ROWS)
