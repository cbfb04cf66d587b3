"""The loop in a plain process: order, weights, resume, divergence."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Part, Prepared
from training.errors import TrainingFailed
from training.loop import Trainer, run_to_end
from training.loss_log import Diverged
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.session import Checkpoint, Gauges, Leaving, Order, Place, PlainSession
from training.train_config import EarlyStopping, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig

WITH_DROPOUT = MlpConfig(hidden=(16,), dropout=0.2)


@pytest.fixture(scope="module")
def iris() -> Prepared:
    return prepare(DataConfig(source="sklearn:iris", target="target"))


def trainer(
    prepared: Prepared, config: TrainConfig, session: PlainSession | None = None, metric: str = "accuracy",
    model: MlpConfig = WITH_DROPOUT,
) -> Trainer:  # fmt: skip
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    return Trainer(
        config, build_model(model, inputs, config.seed), prepared.facts, prepared.train, prepared.validation,
        session or PlainSession(), metric,
    )  # fmt: skip


def equal(one: Checkpoint, two: Checkpoint) -> bool:
    return all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])


def diverged(session: PlainSession) -> list[dict[str, Any]]:
    return [told for told in session.told if told["event"] == "diverged"]


def losses(one: Trainer, name: str = "train/loss") -> list[float]:
    return [metrics[name] for metrics in one.history]


@dataclass
class Ordered(PlainSession):
    """Gives an order at each of some steps, once."""

    orders: dict[int, Order] = field(default_factory=dict)
    asked: list[tuple[Place, bool]] = field(default_factory=list)  # and whether an epoch's rows were all consumed

    def boundary(self, place: Place, gauges: Gauges) -> Order:
        self.asked.append((place, place.samples >= 105))
        return self.orders.pop(len(self.asked), Order.GO_ON)


def test_learns_and_stops_early(iris: Prepared) -> None:
    session = PlainSession()
    one = trainer(
        iris,
        TrainConfig(epochs=200, global_batch_size=16, peak_lr=0.02, early_stopping=EarlyStopping(patience=10)),
        session,
    )
    run_to_end(one, session)
    assert one.best.score > 0.85
    assert len(session.history) < 200
    assert one.epoch - one.best.epoch == 10


def test_resumed_training_ends_with_the_weights_of_an_unbroken_one(iris: Prepared, tmp_path: Path) -> None:
    config = TrainConfig(epochs=6, global_batch_size=16, early_stopping=None)
    whole_session, broken_session = PlainSession(), PlainSession()
    whole = trainer(iris, config, whole_session)
    run_to_end(whole, whole_session)
    first = trainer(iris, config, broken_session)
    for _ in range(3):
        broken_session.report(first.train_epoch())
    broken_session.save(first.checkpoint(), first.place)
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


@pytest.mark.parametrize("asked", [1, 5, 7, 8, 9, 16])  # 7 steps an epoch, and the 8th is asked in its evaluation
@pytest.mark.parametrize(
    "train",
    [
        {"ema": EmaConfig(decay=0.9)},
        {"optimizer": OptimizerConfig(kind="sgd"), "schedule": ScheduleConfig(kind="plateau", patience=1)},
        {"optimizer": OptimizerConfig(kind="lion"), "schedule": ScheduleConfig(kind="one_cycle"), "peak_lr": 1e-3},
        {"precision": "bf16", "micro_batch": 5, "l1": 1e-4},
    ],
    ids=["ema", "sgd, plateau", "lion, one cycle", "bf16, micro-batches"],
)
def test_a_training_told_to_leave_goes_on_bit_for_bit(
    iris: Prepared, tmp_path: Path, asked: int, train: dict[str, Any]
) -> None:
    config = TrainConfig(epochs=3, global_batch_size=16, early_stopping=None).model_copy(update=train)
    whole_session, session = PlainSession(), Ordered(orders={asked: Order.LEAVE})
    whole = trainer(iris, config, whole_session)
    run_to_end(whole, whole_session)
    with pytest.raises(Leaving):
        run_to_end(trainer(iris, config, session), session)
    torch.save(session.latest, tmp_path / "c.pt")
    session.latest = torch.load(tmp_path / "c.pt", weights_only=True)
    second = trainer(iris, config, session)
    run_to_end(second, session)
    assert equal(whole.checkpoint(), second.checkpoint())
    assert losses(second) == losses(whole)
    assert [one["validation/log_loss"] for one in second.history] == [
        one["validation/log_loss"] for one in whole.history
    ]
    kept, wanted = second.checkpoint()["best"], whole.checkpoint()["best"]
    assert kept["epoch"] == wanted["epoch"]
    assert all(torch.equal(kept["model"][name], wanted["model"][name]) for name in wanted["model"])


def test_orders_are_asked_after_every_step_and_in_evaluations(iris: Prepared) -> None:
    session = Ordered()
    run_to_end(trainer(iris, TrainConfig(epochs=2, global_batch_size=16, early_stopping=None), session), session)
    assert [place.step for place, _ in session.asked] == [1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 14]


def test_pieces_of_a_batch_give_the_gradient_of_the_whole(iris: Prepared) -> None:
    config = TrainConfig(epochs=1, global_batch_size=16, max_grad_norm=None)
    model = MlpConfig(hidden=(16,))
    whole, pieces = (trainer(iris, config.model_copy(update={"micro_batch": size}), model=model) for size in (None, 3))
    for one in (whole, pieces):
        one.train_steps(1)
    for before, after in zip(whole.model.parameters(), pieces.model.parameters(), strict=True):
        assert torch.allclose(before.grad, after.grad, atol=1e-6)  # type: ignore[arg-type]


class Narrow(nn.Module):
    """Holds so many rows at a time."""

    def __init__(self, inputs: ModelInputs, rows: int = 5) -> None:
        super().__init__()
        self.rows, self.linear = rows, nn.Linear(inputs.num_numeric, inputs.num_outputs)

    def forward(self, numeric_BF: torch.Tensor) -> torch.Tensor:
        if self.training and len(numeric_BF) > self.rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory. {len(numeric_BF)} rows")
        return self.linear(numeric_BF)


def narrow(prepared: Prepared, config: TrainConfig, session: PlainSession) -> Trainer:
    model = Narrow(ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs))
    return Trainer(config, model, prepared.facts, prepared.train, prepared.validation, session, "accuracy")


def test_the_most_rows_that_memory_holds_are_found(iris: Prepared) -> None:
    session = PlainSession()
    one = narrow(iris, TrainConfig(epochs=2, global_batch_size=16, micro_batch="auto"), session)
    run_to_end(one, session)
    assert session.told[0] == {"event": "micro_batch", "rows": 4, "share": 16, "step": 0}
    with pytest.raises(TrainingFailed, match=r"16 rows at a time.*CUDA out of memory"):
        narrow(iris, TrainConfig(epochs=2, global_batch_size=16), session).train_epoch()


def test_memory_that_gets_scarce_later_halves_the_pieces(iris: Prepared) -> None:
    session = PlainSession()
    one = narrow(iris, TrainConfig(epochs=2, global_batch_size=16, micro_batch="auto"), session)
    one.train_steps(2)
    one.model.rows = 2  # type: ignore[assignment]
    one.train_steps(2)
    assert one._make_step.micro_batch == 2
    assert one.step == 4


class Poisoned(nn.Module):
    """Answers no number for one row."""

    def __init__(self, inputs: ModelInputs, values: torch.Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        self.register_buffer("values", values)
        self.is_on = True

    def forward(self, numeric_BF: torch.Tensor) -> torch.Tensor:
        hit_B1 = (numeric_BF == self.values).all(dim=1, keepdim=True)
        logits_BK = self.linear(numeric_BF)
        return torch.where(hit_B1, torch.nan, logits_BK) if self.training and self.is_on else logits_BK


def poisoned(prepared: Prepared, session: PlainSession, row: int, **train: Any) -> Trainer:
    assert isinstance(prepared.train, Part)
    values = torch.from_numpy(prepared.train.tensors["numeric"][row].copy())
    model = Poisoned(ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs), values)
    config = TrainConfig(epochs=2, global_batch_size=16, **train)
    return Trainer(config, model, prepared.facts, prepared.train, prepared.validation, session, "accuracy")


def test_divergence_is_said_with_rate_step_and_rows(iris: Prepared) -> None:
    session = PlainSession()
    one = poisoned(iris, session, 40)
    with pytest.raises(TrainingFailed, match=r"nan in epoch 1, step \d+ on the training rows .*peak_lr=0.003"):
        run_to_end(one, session)
    (told,) = diverged(session)
    assert told["action"] == "stop"
    assert 40 in told["rows"]
    assert len(told["rows"]) == 16


def test_a_training_rolls_back_with_half_the_rate(iris: Prepared) -> None:
    session = Ordered(orders={2: Order.SAVE})
    one = poisoned(iris, session, 40, on_nan="rollback")
    one.session = session

    def heals(event: str, **facts: Any) -> None:
        PlainSession.tell(session, event, **facts)
        one.model.is_on = len(diverged(session)) < 2  # type: ignore[assignment]

    session.tell = heals  # type: ignore[method-assign]
    run_to_end(one, session)
    assert [told["action"] for told in diverged(session)] == ["rollback", "rollback"]
    assert [told["to_step"] for told in diverged(session)] == [2, 2]
    assert [told["lr_scale"] for told in diverged(session)] == [0.5, 0.25]
    assert one.finished
    assert one._make_step.schedule.lr_scale == 0.25


def test_a_training_that_diverges_again_and_again_ends(iris: Prepared) -> None:
    session = PlainSession()
    with pytest.raises(TrainingFailed, match="3 times, each with half the rate"):
        run_to_end(poisoned(iris, session, 40, on_nan="rollback"), session)
    assert [told["action"] for told in diverged(session)] == ["rollback"] * 3 + ["stop"]


def test_no_checkpoint_is_made_of_weights_that_are_no_numbers(iris: Prepared) -> None:
    session = Ordered(orders={3: Order.SAVE})
    one = trainer(iris, TrainConfig(epochs=2, global_batch_size=16), session)
    one.train_steps(2)
    next(iter(one.model.parameters())).data[0, 0] = float("inf")
    with pytest.raises(Diverged):
        one.train_steps(1)
    assert session.latest is None


def test_what_compiles_is_guarded(iris: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    stalls: list[int] = []

    class Guarded(PlainSession):
        @contextlib.contextmanager
        def stalled(self, checkpoint: Callable[[], Checkpoint], place: Place) -> Iterator[None]:
            stalls.append(place.step)
            assert checkpoint()["step"] == place.step
            yield

    monkeypatch.setattr(nn.Module, "compile", lambda _: None)
    session = Guarded()
    one = trainer(iris, TrainConfig(epochs=2, global_batch_size=16, compile=True, early_stopping=None), session)
    run_to_end(one, session)
    assert stalls == [0, 6, 7]  # the first step, the smaller last batch, the evaluation


class Keeping(PlainSession):
    """Saves before it compiles, as the hosts do."""

    @contextlib.contextmanager
    def stalled(self, checkpoint: Callable[[], Checkpoint], place: Place) -> Iterator[None]:
        if place.step:
            self.save(checkpoint(), place)
        yield


def test_a_kill_while_an_evaluation_compiles_costs_nothing(iris: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda _: None)
    session = Keeping()
    train = TrainConfig(epochs=2, global_batch_size=16, compile=True, ema=EmaConfig(decay=0.9))
    whole = trainer(iris, train, session)
    whole.train_epoch()
    assert session.latest is not None
    assert session.latest["step"] == 7
    resumed = trainer(iris, train)
    resumed.load(session.latest)
    resumed.train_epoch()  # its evaluation alone is left
    for one in (whole, resumed):
        one.train_steps()
    assert equal(whole.checkpoint(), resumed.checkpoint())


def test_nothing_is_kept_before_a_compilation_of_weights_that_are_no_numbers(
    iris: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda _: None)
    session = Keeping()
    one = trainer(iris, TrainConfig(epochs=2, global_batch_size=16, compile=True), session)
    one.train_steps(2)
    next(iter(one.model.parameters())).data[0, 0] = float("inf")
    with pytest.raises(Diverged):
        one.train_epoch()
    assert session.latest is None


def test_a_checkpoint_of_other_data_is_refused(iris: Prepared) -> None:
    one = trainer(iris, TrainConfig(epochs=2))
    with pytest.raises(TrainingFailed, match="other data"):
        one.load(one.checkpoint() | {"data_fingerprint": "else"})


def test_regression_scores_are_in_the_targets_unit() -> None:
    prepared = prepare(DataConfig(source="sklearn:diabetes", target="target"))
    session = PlainSession()
    one = trainer(prepared, TrainConfig(epochs=30, global_batch_size=32), session, "rmse")
    run_to_end(one, session)
    assert 40 < one.best.score < 70  # the target's own deviation is 77


def test_of_equal_scores_the_epoch_with_the_lower_loss_is_best(iris: Prepared) -> None:
    one = trainer(iris, TrainConfig(epochs=9))
    told = [(0.9, 0.5), (0.9, 0.4), (0.9, 0.6), (0.8, 0.1), (0.91, 0.9)]
    best = []
    for epoch, (accuracy, loss) in enumerate(told, 1):
        one.epoch = epoch
        one._remember_best({"validation/accuracy": accuracy, "validation/log_loss": loss})
        best.append(one.best.epoch)
    assert best == [1, 2, 2, 2, 5]
