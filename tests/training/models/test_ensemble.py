"""Several models as one: apart in training, together in answering, and exported as one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.compress.forms.dynamic_int8 import quantize_int8
from training.compress.forms.export import export_onnx
from training.compress.forms.weights import weights_quantized_fraction
from training.learning_config import EnsembleConfig
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.models.ensemble import Ensemble
from training.package.runtime import VariantRunner

INPUTS = ModelInputs(3, (5, 4), None, 3)
ROWS = (torch.rand(6, 3), torch.ones(6, 2, dtype=torch.int64))


def built(num_outputs: int = 3, hidden: tuple[int, ...] = (8,), members: int = 4) -> Ensemble:
    inputs = ModelInputs(3, (5, 4), None, num_outputs)
    model = build_model(MlpConfig(hidden=hidden), inputs, seed=1, ensemble=EnsembleConfig(members=members))
    assert isinstance(model, Ensemble)
    return model


def test_in_training_it_gives_each_members_logits() -> None:
    model = built()
    assert model.training
    logits = model(*ROWS)
    assert logits.shape == (6, 4, 3)
    torch.testing.assert_close(logits[:, 2], model.members[2](*ROWS))


def test_else_the_mean_of_their_probabilities() -> None:
    model = built().eval()
    mean = torch.stack([member(*ROWS).softmax(1) for member in model.members]).mean(0)
    torch.testing.assert_close(model(*ROWS).softmax(1), mean)


def test_a_regressions_answer_is_the_mean_prediction() -> None:
    model = built(num_outputs=1)
    assert model(*ROWS).shape == (6, 4, 1)
    model.eval()
    torch.testing.assert_close(model(*ROWS), torch.stack([member(*ROWS) for member in model.members]).mean(0))


def test_first_weights_are_of_the_seed_and_differ_between_members() -> None:
    one, two = built(), built()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    weights = [member.layers[0].weight for member in one.members]  # type: ignore[union-attr, index]
    assert not torch.equal(weights[0], weights[1])
    single = build_model(MlpConfig(hidden=(8,)), INPUTS, seed=1)
    assert torch.equal(single.layers[0].weight, weights[0])  # type: ignore[union-attr, index]


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_it_is_exported_and_quantized_like_any_model(num_outputs: int, tmp_path: Path) -> None:
    model = built(num_outputs, hidden=(160, 160), members=2)
    example = {"numeric": ROWS[0].numpy(), "categorical": ROWS[1].numpy()}
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    task = "regression" if num_outputs == 1 else "classification"
    export_onnx(model, example, task=task, target_mean=2.0, target_scale=3.0, path=fp32)  # compares with torch
    assert model.training  # left as it was
    assert quantize_int8(fp32, int8) == 2
    assert weights_quantized_fraction(int8) > 0.9
    np.testing.assert_allclose(VariantRunner(int8)(example), VariantRunner(fp32)(example), atol=0.05)
