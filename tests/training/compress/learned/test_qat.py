"""Tuning to rounding: what is simulated is what the forms do, it helps, and nothing of it stays."""

import copy
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.compress.learned.made import around, trained, untrained
from training.compress.errors import NotMade
from training.compress.forms.dynamic_int8 import quantize_int8
from training.compress.forms.export import export_onnx
from training.compress.forms.static_int8 import static_int8
from training.compress.learned.around import Around, Base
from training.compress.learned.qat import rounding_aware
from training.compress.learned.rounding import _RoundedTensor, num_rounded, rounding, watch
from training.compress_config import QatConfig
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.package.runtime import VariantRunner


@pytest.fixture(scope="module")
def wide(digits: Prepared) -> Around:
    """With one layer that is large enough for dynamic int8."""
    return around(digits, {"hidden": (160, 160)})


@pytest.fixture(scope="module")
def sensitive(wide: Around) -> Base:
    """It answers like any other, but one unit of each hidden layer has values 300 times as large as it needs."""
    base = trained(wide)
    first, second, last = (module for module in base.model.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        for layer, following in ((first, second), (second, last)):
            layer.weight[:1] *= 300
            layer.bias[:1] *= 300
            following.weight[:, :1] /= 300
    return base


def rows_of(place: Around, num_rows: int) -> dict[str, np.ndarray]:
    return {"numeric": place.some_rows(num_rows)[0].numpy()}


def as_onnx(model: nn.Module, place: Around, folder: Path) -> Path:
    path = folder / "fp32.onnx"
    export_onnx(model, rows_of(place, 8), task="classification", target_mean=0.0, target_scale=1.0, path=path)
    return path


def static_accuracy(model: nn.Module, place: Around, folder: Path) -> float:
    """Of the real form, on the validation rows."""
    static_int8(as_onnx(model, place, folder), folder / "static.onnx", rows_of(place, 512))
    validation = place.prepared.validation
    scores = VariantRunner(folder / "static.onnx")(validation.tensors)
    return float((scores.argmax(axis=1) == validation.target).mean())


def rounded_answers(model: nn.Module, form: str, place: Around, rows: tuple[Tensor, ...]) -> np.ndarray:
    rounded = rounding(model, form)  # type: ignore[arg-type]
    watch(rounded, place.some_rows(512))
    with torch.no_grad():
        return rounded(*rows).softmax(1).numpy()


def test_simulated_rounding_is_that_of_the_dynamic_form(sensitive: Base, wide: Around, tmp_path: Path) -> None:
    assert quantize_int8(as_onnx(sensitive.model, wide, tmp_path), tmp_path / "int8.onnx") == 1
    assert num_rounded(sensitive.model, "int8") == 1
    real = VariantRunner(tmp_path / "int8.onnx")(rows_of(wide, 100))
    simulated = rounded_answers(sensitive.model, "int8", wide, wide.some_rows(100))
    np.testing.assert_allclose(simulated, real, atol=1e-4)
    with torch.no_grad():
        exact = sensitive.model(*wide.some_rows(100)).softmax(1).numpy()
    assert np.abs(exact - real).max() > 1e-3  # rounding does something


def test_a_model_that_static_rounding_breaks_is_mended(sensitive: Base, wide: Around, tmp_path: Path) -> None:
    before = static_accuracy(sensitive.model, wide, tmp_path)
    assert sensitive.validation_score is not None
    assert before < sensitive.validation_score - 0.3
    tuned = rounding_aware(sensitive, QatConfig(epochs=4, peak_lr=0.003), "int8_static", wide)
    assert tuned.steps == ("qat",)
    assert static_accuracy(tuned.model, wide, tmp_path) > before + 0.3


@pytest.mark.parametrize("form", ["int8", "int8_static"])
def test_plain_weights_are_left_of_it(form: str, sensitive: Base, wide: Around) -> None:
    first = copy.deepcopy(sensitive.model)
    tuned = rounding_aware(sensitive, QatConfig(epochs=2, peak_lr=0.003), form, wide).model  # type: ignore[arg-type]
    assert list(tuned.state_dict()) == list(first.state_dict())
    assert [type(module) for module in tuned.modules()] == [type(module) for module in first.modules()]
    assert not any(module._forward_pre_hooks for module in tuned.modules())
    assert all(torch.equal(a, b) for a, b in zip(sensitive.model.parameters(), first.parameters(), strict=True))
    moved = [float((a - b).detach().abs().max()) for a, b in zip(tuned.parameters(), first.parameters(), strict=True)]
    assert min(moved) > 0


def test_batch_norms_keep_their_statistics_and_convolutions_are_tuned() -> None:
    data = {"source": "sklearn:digits", "target": "target", "image_shape": (1, 8, 8)}
    prepared = prepare(DataConfig.model_validate(data))
    place = around(prepared, {"kind": "resnet", "width": 8, "depths": (1,)}, data=data, train={"epochs": 1})
    base = trained(place)
    tuned = rounding_aware(base, QatConfig(epochs=1, peak_lr=0.01), "int8_static", place)
    before, after = base.model.state_dict(), tuned.model.state_dict()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if "running" in name or "num_batches" in name}


def test_a_model_without_large_layers_is_left_out_of_dynamic_rounding(small: Around, learned: Base) -> None:
    with pytest.raises(NotMade, match="int8 rounds no layer of the model: it has no linear one of at least 16,384"):
        rounding_aware(learned, QatConfig(), "int8", small)


def test_tuning_that_finds_nothing_better_is_no_form(small: Around, learned: Base) -> None:
    with pytest.raises(NotMade, match=r"no epoch with the rounding of int8_static was better .*accuracy 0.9"):
        rounding_aware(learned, QatConfig(epochs=1, peak_lr=0.9), "int8_static", small)


def test_a_range_widens_at_once_and_narrows_slowly() -> None:
    layer = _RoundedTensor().train()
    layer(torch.tensor([-1.0, 3.0]))
    assert (float(layer.low), float(layer.high)) == (-1.0, 3.0)
    layer(torch.tensor([0.5, 1.0]))
    assert -1.0 < float(layer.low) < -0.98
    assert 2.97 < float(layer.high) < 3.0
    layer.eval()(torch.tensor([-9.0, 9.0]))
    assert 2.97 < float(layer.high) < 3.0


@pytest.mark.parametrize("rows", [torch.zeros(2, 64), torch.full((2, 64), 1e30)], ids=["zeros", "huge"])
def test_odd_rows_are_rounded_to_numbers(rows: Tensor, small: Around) -> None:
    model = untrained(small)
    rounded = rounding(model, "int8_static")
    watch(rounded, (rows,))
    assert torch.isfinite(rounded(rows)).all() or not torch.isfinite(model(rows)).all()


@pytest.mark.parametrize("form", ["int8", "int8_static"])
def test_models_of_64_bits_are_rounded_as_those_of_32(form: Literal["int8", "int8_static"]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 3)).eval()
    rows = torch.randn(9, 160)
    narrow, wide = rounding(model, form), rounding(copy.deepcopy(model).double(), form)
    watch(narrow, (rows,))
    watch(wide, (rows.double(),))
    answer = wide(rows.double())
    answer.sum().backward()
    assert answer.dtype == torch.float64
    torch.testing.assert_close(answer.float(), narrow(rows), atol=1e-3, rtol=0)
