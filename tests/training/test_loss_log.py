"""Which losses end a training, and which step is to blame."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.data.batches import sample_order
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Part, Prepared
from training.errors import TrainingFailed
from training.loop import Trainer, run_to_end
from training.loss_log import Diverged, LossLog
from training.models import ModelInputs
from training.session import Place, PlainSession
from training.train_config import TrainConfig


def log_of(losses: list[float], norms: list[float] | None = None) -> LossLog:
    """A log of such steps, which is not looked at yet."""
    log = LossLog(0, 1, torch.device("cpu"))
    add(log, 0, losses, norms)
    return log


def add(log: LossLog, first: int, losses: list[float], norms: list[float] | None = None) -> None:
    for step, (loss, norm) in enumerate(zip(losses, norms or [1.0] * len(losses), strict=True), first):
        log.add(Place(0, step, step), torch.tensor(loss), torch.tensor([step]), torch.tensor(norm))


def test_a_loss_that_explodes_and_stays_large_counts_as_diverged() -> None:
    log = log_of([1.0] * 30 + [101.0] * 9 + [99.0] + [101.0] * 9)
    log.look()
    assert log.is_suspect
    log.begin()  # an epoch may have fewer steps than that
    add(log, 49, [101.0])
    with pytest.raises(Diverged, match="became 101 and stayed above 100 times") as caught:
        log.look()
    assert (caught.value.place.step, caught.value.rows) == (40, (40,))


def test_a_loss_below_zero_has_not_exploded_when_it_passes_zero() -> None:
    log = log_of([-1.0] * 30 + [0.5] * 30)
    log.look()
    assert not log.is_suspect


@pytest.mark.parametrize(
    ("losses", "norms", "guilty"),
    [
        ([1.0, 1.0, math.nan], [1.0, math.nan, math.nan], 1),
        ([1.0, 1.0, math.nan], [1.0, math.inf, math.nan], 1),
        ([1.0, 1.0, math.nan], [math.inf, 1.0, math.nan], 2),  # the first was clipped to nothing
        ([1.0, math.inf], [1.0, math.nan], 1),
    ],
)
def test_the_step_whose_gradient_was_no_number_is_to_blame(
    losses: list[float], norms: list[float], guilty: int
) -> None:
    with pytest.raises(Diverged) as caught:
        log_of(losses, norms).look()
    assert (caught.value.place.step, caught.value.rows) == (guilty, (guilty,))


class Steep(nn.Module):
    """What it answers to one row is a number, and has a slope that is none."""

    def __init__(self, num_inputs: int, values: Tensor) -> None:
        super().__init__()
        self.linear, self.values = nn.Linear(num_inputs, 1), values

    def forward(self, numeric_BF: Tensor) -> Tensor:
        is_other_B1 = (numeric_BF != self.values).any(dim=1, keepdim=True)
        return (self.linear(numeric_BF) * is_other_B1).abs().sqrt()


@pytest.fixture(scope="module")
def diabetes() -> Prepared:
    return prepare(DataConfig(source="sklearn:diabetes", target="target"))


def trainer(prepared: Prepared, model: nn.Module, train: Part, session: PlainSession) -> Trainer:
    config = TrainConfig(epochs=2, global_batch_size=8)
    return Trainer(config, model, prepared.facts, train, prepared.validation, session, "rmse")


def test_rows_that_have_no_gradient_are_told(diabetes: Prepared) -> None:
    assert isinstance(diabetes.train, Part)
    values = torch.from_numpy(diabetes.train.tensors["numeric"][40].copy())
    session, model = PlainSession(), Steep(len(values), values)
    with pytest.raises(TrainingFailed, match="the gradient's norm became nan"):
        run_to_end(trainer(diabetes, model, diabetes.train, session), session)
    assert 40 in session.told[-1]["rows"]


def test_one_row_far_out_does_not_stop_a_training(diabetes: Prepared) -> None:
    """The first batches hold what is near the mean; the last row of the epoch has a loss millions of times as large."""
    assert isinstance(diabetes.train, Part)
    facts, num_rows = diabetes.facts, len(diabetes.train)
    scaled_N = np.random.default_rng(0).normal(0, 0.01, num_rows)
    scaled_N[sample_order(num_rows, 0, 0)[-1]] = 300
    target_N = (facts.target_mean + facts.target_scale * scaled_N).astype(np.float32)
    model = nn.Linear(ModelInputs.of(facts.transforms, 1).num_numeric, 1)
    nn.init.zeros_(model.weight)
    session = PlainSession()
    one = trainer(diabetes, model, replace(diabetes.train, target=target_N), session)
    run_to_end(one, session)
    assert one.finished
    assert one.history[0]["train/loss"] > 100
