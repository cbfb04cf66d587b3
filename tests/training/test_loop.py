"""The loop in a plain process: order, weights, resume, divergence."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.config import EarlyStopping, MlpConfig, TrainConfig
from training.data.config import DataConfig
from training.data.prepare import Prepared, prepare
from training.errors import TrainingFailed
from training.loop import Trainer, learning_rate, run_to_end, sample_order, shard_batches
from training.models import ModelInputs, build_model
from training.session import Checkpoint, PlainSession


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


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 5), st.integers(0, 3))
def test_every_row_is_seen_once_an_epoch_by_some_worker(num_rows: int, batch: int, workers: int, epoch: int) -> None:
    batch = max(batch, workers)
    order = sample_order(num_rows, seed=7, epoch=epoch)
    seen: Counter[int] = Counter()
    steps = set()
    for rank in range(workers):
        shares = shard_batches(order, batch, rank, workers)
        steps.add(len(shares))
        for index, weight in shares:
            assert len(index) > 0
            if weight:
                seen.update(index.tolist())
    assert seen == Counter(range(num_rows))
    assert len(steps) == 1  # all workers make the same number of steps, or one would wait for ever


@given(st.integers(1, 97), st.integers(1, 32), st.integers(1, 5))
def test_weighted_means_over_workers_are_the_mean_of_the_global_batch(num_rows: int, batch: int, workers: int) -> None:
    batch = max(batch, workers)
    losses = np.random.default_rng(0).random(num_rows)
    order = sample_order(num_rows, 0, 0)
    shares = [shard_batches(order, batch, rank, workers) for rank in range(workers)]
    for step, start in enumerate(range(0, num_rows, batch)):
        over_workers = np.mean([losses[index].mean() * weight for index, weight in (rank[step] for rank in shares)])
        assert over_workers == pytest.approx(losses[order[start : start + batch]].mean())


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


def test_resumed_training_ends_with_the_weights_of_an_unbroken_one(iris: Prepared, tmp_path: object) -> None:
    config = TrainConfig(epochs=6, global_batch_size=16, early_stopping=None)
    whole_session, broken_session = PlainSession(), PlainSession()
    whole = trainer(iris, config, whole_session)
    run_to_end(whole, whole_session)
    first = trainer(iris, config, broken_session)
    for _ in range(3):
        broken_session.report(first.train_epoch(), first.checkpoint())
    torch.manual_seed(12345)  # what else the process drew must not matter
    torch.save(broken_session.latest, f"{tmp_path}/c.pt")
    broken_session.latest = torch.load(f"{tmp_path}/c.pt", weights_only=True)
    second = trainer(iris, config, broken_session)
    run_to_end(second, broken_session)
    assert len(broken_session.history) == 6
    assert equal(whole.checkpoint(), second.checkpoint())
    assert not equal(whole.checkpoint(), trainer(iris, config).checkpoint())


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
