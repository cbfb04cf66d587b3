"""Programs of torch: each form answers nearly like fp32, holds nothing pickled, and says why it is not made."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.compress.forms.made import MODELS, few, made
from training.compress.errors import NotMade
from training.compress.forms.export import ScoringModel
from training.compress.forms.torch_forms import make_torch_form
from training.compress.forms.weights import weights_quantized_fraction
from training.package.runtimes.on_torch import TorchRunner

CLOSE = {"fp32": 2e-6, "bf16": 0.01, "fp16": 0.002, "int8": 0.02, "int8_weights": 0.02}
NO_LAYER = "it has no linear layer with 16,384 weights or more and widths of a multiple of 16"
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
NUMERIC = {"numeric": np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)}


# Every kind, and every form of the one that has all sorts of inputs.
@pytest.mark.parametrize(
    ("kind", "form"),
    [*(("mlp", form) for form in CLOSE), *((kind, "int8_weights") for kind in MODELS if kind != "mlp")],
)
def test_a_form_answers_any_number_of_rows_nearly_like_fp32(kind: str, form: str, tmp_path: Path) -> None:
    model, target = made(kind), tmp_path / "form.pt2"
    if kind == "resnet":
        with pytest.raises(NotMade) as caught:
            make_torch_form(form, model.scoring, few(model.rows, 8), target, "cpu")
        assert caught.value.message == NO_LAYER
        return
    make_torch_form(form, model.scoring, few(model.rows, 8), target, "cpu")
    runner = TorchRunner(target)
    assert runner.input_names == tuple(model.rows)
    for num in (1, 3, 40):
        scores = runner(few(model.rows, num))
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, model.scores[:num], atol=CLOSE[form])
    assert weights_quantized_fraction(target) == (form != "fp32")
    assert next(model.scoring.parameters()).dtype == torch.float32
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_holds_no_pickle_and_tells_nothing_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    model = made("mlp")
    make_torch_form("int8", model.scoring, few(model.rows, 8), tmp_path / "form.pt2", "cpu")
    with zipfile.ZipFile(tmp_path / "form.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not any(zipfile.is_zipfile(io.BytesIO(content)) for content in contents.values())  # as torch.save's are
    assert not any(content.startswith(b"\x80") and content.endswith(b".") for content in contents.values())
    everything = b"".join(contents.values())
    assert str(Path(__file__).parents[4]).encode() not in everything
    assert b"stack_trace" not in everything


def test_one_example_row_is_enough_for_any_number(tmp_path: Path) -> None:
    scoring = ScoringModel(nn.Linear(5, 3), "classification")
    make_torch_form("bf16", scoring, few(NUMERIC, 1), tmp_path / "form.pt2", "cpu")
    assert TorchRunner(tmp_path / "form.pt2")(NUMERIC).shape == (6, 3)


def test_a_regression_answers_in_the_unit_of_its_target(tmp_path: Path) -> None:
    """In bf16 every 1,024th number is missing there; the answer is made in fp32."""
    scoring = ScoringModel(nn.Linear(5, 1), "regression", 200_000.0, 80_000.0)
    make_torch_form("bf16", scoring, NUMERIC, tmp_path / "form.pt2", "cpu")
    with torch.no_grad():
        expected = scoring(torch.from_numpy(NUMERIC["numeric"])).numpy()
    scores = TorchRunner(tmp_path / "form.pt2")(NUMERIC)
    assert scores.shape == (6,)
    np.testing.assert_allclose(scores, expected, atol=80_000 * 0.01)


class Branches(nn.Module):
    def forward(self, numeric: Tensor) -> Tensor:
        return numeric if numeric.sum() > 0 else -numeric


class Huge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[7e4, 1.0]]))

    def forward(self, numeric: Tensor) -> Tensor:
        return numeric[:, :1] * self.weight


@pytest.mark.parametrize(
    ("model", "form", "device", "reason"),
    [
        (Branches(), "bf16", "cpu", "torch cannot export it: "),
        (Huge(), "fp16", "cpu", "weight holds 7e+04, and fp16 ends at 65504"),
        (nn.Linear(5, 3), "int8", "cpu", NO_LAYER),
        pytest.param(nn.Linear(5, 3), "fp8", "cpu", "fp8 needs a GPU", marks=WITHOUT_GPU),
        pytest.param(nn.Linear(5, 3), "int8", "cuda", "it is made on a GPU, and there is none", marks=WITHOUT_GPU),
    ],
    ids=["branch", "range", "small", "fp8", "cuda"],
)  # fmt: skip
def test_what_is_not_made_is_told_in_a_line(
    model: nn.Module, form: str, device: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(NotMade) as caught:
        make_torch_form(form, ScoringModel(model, "classification"), NUMERIC, tmp_path / "form.pt2", device)
    assert caught.value.message.startswith(reason)
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == []
