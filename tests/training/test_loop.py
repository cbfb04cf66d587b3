"""The loop in a plain process: order, weights, resume, divergence."""

from pathlib import Path

import pytest
import torch

from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.errors import TrainingFailed
from training.loop import Trainer, learning_rate, run_to_end
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.session import Checkpoint, PlainSession
from training.train_config import EarlyStopping, TrainConfig


@pytest.fixture(scope="module")
def iris() -> Prepared:
    return prepare(DataConfig(source="sklearn:iris", target="target"))


def trainer(
    prepared: Prepared, config: TrainConfig, session: PlainSession | None = None, metric: str = "accuracy"
) -> Trainer:
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    model = build_model(MlpConfig(hidden=(16,), dropout=0.2), inputs, config.seed)
    return Trainer(
        config, model, prepared.facts, prepared.train, prepared.validation, session or PlainSession(), metric
    )


def equal(one: Checkpoint, two: Checkpoint) -> bool:
    return all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])


def test_learns_and_stops_early(iris: Prepared) -> None:
    session = PlainSession()
    one = trainer(
        iris,
        TrainConfig(epochs=200, global_batch_size=16, peak_lr=0.02, early_stopping=EarlyStopping(patience=10)),
        session,
    )
    run_to_end(one, session)
    assert one.best_score > 0.85
    assert len(session.history) < 200
    assert one.epoch - one.best_epoch == 10


def test_resumed_training_ends_with_the_weights_of_an_unbroken_one(iris: Prepared, tmp_path: Path) -> None:
    config = TrainConfig(epochs=6, global_batch_size=16, early_stopping=None)
    whole_session, broken_session = PlainSession(), PlainSession()
    whole = trainer(iris, config, whole_session)
    run_to_end(whole, whole_session)
    first = trainer(iris, config, broken_session)
    for _ in range(3):
        broken_session.report(first.train_epoch(), first.checkpoint())
    torch.manual_seed(12345)  # what else the process drew must not matter
    torch.save(broken_session.latest, tmp_path / "c.pt")
    broken_session.latest = torch.load(tmp_path / "c.pt", weights_only=True)
    second = trainer(iris, config, broken_session)
    run_to_end(second, broken_session)
    assert len(broken_session.history) == 6
    assert equal(whole.checkpoint(), second.checkpoint())
    assert not equal(whole.checkpoint(), trainer(iris, config).checkpoint())


@pytest.mark.parametrize("num_steps", [1, 6, 7])  # of 7 an epoch: after the first, before the last, after the last
def test_a_training_stopped_inside_an_epoch_goes_on_as_if_it_had_not(
    iris: Prepared, tmp_path: Path, num_steps: int
) -> None:
    config = TrainConfig(epochs=3, global_batch_size=16, early_stopping=None)
    whole = trainer(iris, config)
    unbroken = [whole.train_epoch() for _ in range(3)]
    first = trainer(iris, config)
    first.train_epoch()
    assert first.train_steps(num_steps) == num_steps
    torch.save(first.checkpoint(), tmp_path / "c.pt")
    torch.manual_seed(12345)
    second = trainer(iris, config)
    second.load(torch.load(tmp_path / "c.pt", weights_only=True))
    assert (second.epoch, second.samples) == (1, min(16 * num_steps, 105))
    metrics = [second.train_epoch() for _ in range(2)]
    assert equal(whole.checkpoint(), second.checkpoint())
    assert [one["train/loss"] for one in metrics] == [one["train/loss"] for one in unbroken[1:]]


def test_steps_made_one_by_one_are_those_of_the_epoch(iris: Prepared) -> None:
    config = TrainConfig(epochs=2, global_batch_size=16)
    whole, slow = trainer(iris, config), trainer(iris, config)
    whole.train_epoch()
    made = 0
    while slow.train_steps(1):
        made += 1
    assert made == slow.steps_per_epoch == 7
    slow.train_epoch()
    assert equal(whole.checkpoint(), slow.checkpoint())


def test_divergence_is_said_with_the_rate(iris: Prepared) -> None:
    broken = trainer(iris, TrainConfig(epochs=2, peak_lr=0.5))
    next(iter(broken.model.parameters())).data.fill_(float("inf"))
    with pytest.raises(TrainingFailed, match=r"diverged.*train.peak_lr=0.5"):
        broken.train_epoch()


def test_a_checkpoint_of_other_data_is_refused(iris: Prepared) -> None:
    one = trainer(iris, TrainConfig(epochs=2))
    with pytest.raises(TrainingFailed, match="other data"):
        one.load(one.checkpoint() | {"data_fingerprint": "else"})


def test_regression_scores_are_in_the_targets_unit() -> None:
    prepared = prepare(DataConfig(source="sklearn:diabetes", target="target"))
    session = PlainSession()
    one = trainer(prepared, TrainConfig(epochs=30, global_batch_size=32), session, "rmse")
    run_to_end(one, session)
    assert 40 < one.best_score < 70  # the target's own deviation is 77


def test_rate_rises_then_falls_to_nothing() -> None:
    config = TrainConfig(peak_lr=0.1, warmup_fraction=0.2)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert max(rates) == pytest.approx(0.1)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 1e-4


def test_of_equal_scores_the_epoch_with_the_lower_loss_is_best(iris: Prepared) -> None:
    one = trainer(iris, TrainConfig(epochs=9))
    told = [(0.9, 0.5), (0.9, 0.4), (0.9, 0.6), (0.8, 0.1), (0.91, 0.9)]
    best = []
    for epoch, (accuracy, loss) in enumerate(told, 1):
        one.epoch = epoch
        one._remember_best({"validation/accuracy": accuracy, "validation/log_loss": loss})
        best.append(one.best_epoch)
    assert best == [1, 2, 2, 2, 5]
