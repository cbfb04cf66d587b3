"""Lanes that come, go, fail and move between a stack and the usual loop."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.search.fused.lanes import CLOSE, CPU, Leave, changed, experiment, off, solo, stacked, stay
from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Part, Prepared
from training.errors import ConfigError, TrainingFailed
from training.loop import Trainer, run_to_end
from training.search.fused import Stack
from training.session import PlainSession

IRIS = experiment("sklearn:iris", {"epochs": 4}, {"kind": "mlp", "hidden": [16], "dropout": 0.3})  # 4 steps an epoch
TRIALS = {"a": IRIS, "b": changed(IRIS, peak_lr=2e-2, seed=1), "c": changed(IRIS, model={"dropout": 0.1})}


@pytest.fixture(scope="module")
def iris() -> Prepared:
    return prepare(IRIS.data)


def alone(one: Experiment, data: Prepared, epochs: int) -> Trainer:
    trainer = solo(one, data, "accuracy")
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


class After:
    """A host that makes a stack leave after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> None:
        self.left -= 1
        if not self.left:
            raise Leave


def train_to_the_end(stack: Stack, host: After) -> None:
    while True:
        stack.train_epoch(host)


def test_lanes_that_come_and_go_do_not_touch_the_others(iris: Prepared) -> None:
    stack = stacked(IRIS, iris, "accuracy")
    for name in ("a", "b"):
        stack.add(name, TRIALS[name])
    stack.train_epoch(stay)
    bytes_of_two = stack.num_bytes
    stack.drop(["a"])
    assert (stack.names, stack.num_bytes * 2) == (("b",), bytes_of_two)
    stack.train_epoch(stay)
    stack.add("c", TRIALS["c"])  # two epochs behind
    stack.train_epoch(stay)
    assert (stack.lane("b").epoch, stack.lane("c").epoch) == (3, 1)
    stack.train_epoch(stay)
    stack.drop(["b"])
    stack.add("a", TRIALS["a"])
    stack.train_epoch(stay)
    for name, epochs in (("c", 3), ("a", 1)):
        assert off(stack.checkpoint(name), alone(TRIALS[name], iris, epochs).checkpoint()) < CLOSE


def test_a_finished_lane_must_be_dropped(iris: Prepared) -> None:
    stack = stacked(IRIS, iris, "accuracy")
    stack.add("a", changed(IRIS, epochs=1))
    stack.train_epoch(stay)
    assert stack.lane("a").finished
    with pytest.raises(AssertionError, match="finished"):
        stack.train_epoch(stay)


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_lane_goes_on_alone_and_back(iris: Prepared, tmp_path: Path, epochs: int, optimizer: str) -> None:
    one = changed(TRIALS["b"], optimizer={"kind": optimizer}, schedule={"kind": "plateau", "patience": 1})
    stack = stacked(one, iris, "accuracy")
    stack.add("a", changed(IRIS, optimizer={"kind": optimizer}))
    stack.add("b", one)
    for _ in range(epochs):
        stack.train_epoch(stay)
    torch.save(stack.checkpoint("b"), tmp_path / "c.pt")
    trainer = solo(one, iris, "accuracy")
    trainer.load(torch.load(tmp_path / "c.pt", weights_only=True))
    assert equal(trainer.checkpoint(), stack.checkpoint("b"))
    trainer.train_epoch()
    again = stacked(one, iris, "accuracy")
    again.add("b", one, trainer.checkpoint())
    assert equal(again.checkpoint("b"), trainer.checkpoint())
    again.train_epoch(stay)
    unbroken = alone(one, iris, epochs + 2)
    assert off(again.checkpoint("b"), unbroken.checkpoint()) < CLOSE
    lane = again.lane("b")
    assert (lane.best.epoch, lane.best.score) == (unbroken.best.epoch, unbroken.best.score)


def equal(one: Any, two: Any) -> bool:
    """All of two checkpoints, but for the process's own generators, and the rate, which the next step sets anew."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        keys = set(one) - {"rng", "lr"}
        return keys == set(two) - {"rng", "lr"} and all(equal(one[key], two[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two) or (one != one and two != two)


@pytest.mark.parametrize("steps", [1, 5, 8, 9])  # of 4 an epoch: the 5th boundary is in the evaluation
def test_a_stack_that_leaves_goes_on_where_it_stood(iris: Prepared, steps: int) -> None:
    stack = stacked(IRIS, iris, "accuracy")
    for name in ("a", "b"):
        stack.add(name, TRIALS[name])
    host = After(steps)
    with pytest.raises(Leave):
        train_to_the_end(stack, host)
    saved = {name: stack.checkpoint(name) for name in stack.names}
    made = steps - (steps > 4)
    assert saved["a"]["step"] == made
    assert saved["a"]["samples"] == min(made - 4 * saved["a"]["epoch"], 4) * 32 - (23 if made % 4 == 0 else 0)
    again = stacked(IRIS, iris, "accuracy")
    again.add("c", TRIALS["c"])  # begins while the others are in the middle of their epoch
    for name, checkpoint in saved.items():
        again.add(name, TRIALS[name], checkpoint)
    one_by_itself = solo(TRIALS["b"], iris, "accuracy")
    one_by_itself.load(saved["b"])
    one_by_itself.train_epoch()
    again.train_epoch(stay)
    stack.train_epoch(stay)  # the first one goes on, too
    for name in ("a", "b", "c"):
        unbroken = alone(TRIALS[name], iris, again.lane(name).epoch).checkpoint()
        assert off(again.checkpoint(name), unbroken) < CLOSE
        assert again.lane(name).history[-1]["train/loss"] == pytest.approx(unbroken["history"][-1]["train/loss"])
        if name != "c":
            assert off(stack.checkpoint(name), unbroken) < CLOSE
    assert off(one_by_itself.checkpoint(), again.checkpoint("b")) < CLOSE


def test_a_lane_that_diverges_says_so_as_a_trial_does_and_leaves_its_neighbours_alone() -> None:
    base = experiment(
        "sklearn:diabetes", {"optimizer": {"kind": "sgd"}, "max_grad_norm": None, "warmup_fraction": 0.0},
        {"kind": "mlp", "hidden": [16]},
    )  # fmt: skip
    data = prepare(base.data)
    bad = changed(base, peak_lr=0.99, optimizer={"momentum": 0.99})
    stack, told = stacked(base, data, "rmse"), {}
    for name, one in {"before": base, "bad": bad, "after": changed(base, peak_lr=1e-2)}.items():
        stack.add(name, one)
    for _ in range(3):
        told |= {name: found for name, found in stack.train_epoch(stay).items() if isinstance(found, TrainingFailed)}
    assert stack.names == ("before", "after")
    trainer = solo(bad, data, "rmse")
    with pytest.raises(TrainingFailed) as failed:
        run_to_end(trainer, PlainSession())
    assert _finite(told["bad"].message) == _finite(failed.value.message)
    assert off(stack.checkpoint("before"), _trained(base, data, 3)) < CLOSE
    assert off(stack.checkpoint("after"), _trained(changed(base, peak_lr=1e-2), data, 3)) < CLOSE


def _finite(message: str) -> str:
    """With inf for nan: which of them comes first is a matter of the last digits."""
    assert "training diverged: the loss became" in message
    return message.replace("became nan", "became inf")


def _trained(one: Experiment, data: Prepared, epochs: int) -> Any:
    trainer = solo(one, data, "rmse")
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer.checkpoint()


def test_a_lane_that_is_no_number_is_not_saved(iris: Prepared) -> None:
    checkpoint = alone(IRIS, iris, 1).checkpoint()
    next(iter(checkpoint["model"].values())).fill_(torch.nan)
    stack = stacked(IRIS, iris, "accuracy")
    stack.add("bad", IRIS, checkpoint)
    stack.add("good", TRIALS["b"])
    with pytest.raises(Leave):
        stack.train_epoch(After(2))
    with pytest.raises(TrainingFailed, match="diverged: the loss became nan in epoch 2, step 5 on the training rows"):
        stack.checkpoint("bad")
    assert stack.checkpoint("good")["samples"] == 64
    with pytest.raises(Leave):
        stack.train_epoch(After(3))  # in the evaluation: nobody was told of it yet
    told = stack.train_epoch(stay)
    assert isinstance(told["bad"], TrainingFailed)
    assert stack.names == ("good",)
    assert off(stack.checkpoint("good"), alone(TRIALS["b"], iris, 1).checkpoint()) < CLOSE


def test_without_rows_that_judge_the_last_epoch_is_the_best(iris: Prepared) -> None:
    nothing = Part({name: array[:0] for name, array in iris.validation.tensors.items()}, iris.validation.target[:0])
    stack = Stack(IRIS, iris.facts, iris.train, nothing, metric="accuracy", device=CPU)
    stack.add("a", IRIS)
    for epoch in (1, 2):
        told = stack.train_epoch(stay)["a"]
        assert isinstance(told, dict)
        assert set(told) == {"train/loss", "epoch", "seconds"}
        assert stack.lane("a").best.epoch == epoch
    assert off(stack.checkpoint("a"), alone(IRIS, iris, 2).checkpoint()) < CLOSE


def test_settings_that_do_not_suit_the_data_are_refused(iris: Prepared) -> None:
    stack = stacked(IRIS, iris, "accuracy")
    with pytest.raises(ConfigError):
        stack.add("a", changed(IRIS, imbalance={"class_weights": {"no such label": 2.0}}))
    assert stack.num_lanes == 0


def test_a_checkpoint_of_other_data_is_refused(iris: Prepared) -> None:
    checkpoint = alone(IRIS, iris, 1).checkpoint() | {"data_fingerprint": "other"}
    stack = stacked(IRIS, iris, "accuracy")
    with pytest.raises(TrainingFailed, match="other data"):
        stack.add("a", IRIS, checkpoint)
