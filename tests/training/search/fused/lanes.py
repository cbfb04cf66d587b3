"""Trials trained both ways: as lanes of a stack, and by themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.search.fused import Stack
from training.session import Checkpoint, PlainSession

CPU = torch.device("cpu")
# Between a weight of a lane and of its trial by itself: sums in another order, which differ more on some processors
# (1.1e-5 with a quantile loss on a Zen 5, below 1e-5 on others). A rate that is 1 % off makes 1.5e-3.
CLOSE = 3e-5


class Leave(Exception):
    """What a host raises."""


def stay() -> None:
    """A host that asks for nothing."""


def experiment(source: str, train: Mapping[str, Any], model: Mapping[str, Any], **more: Any) -> Experiment:
    data = {"source": source, "target": "target", **more.get("data", {})}
    rest = {key: value for key, value in more.items() if key != "data"}
    plain = {"epochs": 3, "global_batch_size": 32, "early_stopping": None}
    return Experiment.model_validate({"name": "t", "data": data, "model": model, "train": plain | train, **rest})


def changed(base: Experiment, **train: Any) -> Experiment:
    """The same with other settings of its training; `model` and `optimizer` take a mapping."""
    raw = base.model_dump(by_alias=True)
    raw["model"] |= train.pop("model", {})
    raw["train"]["optimizer"] |= train.pop("optimizer", {})
    raw["train"] |= train
    return Experiment.model_validate(raw)


def mixed_table(folder: Path) -> str:
    """A table of numbers, categories and texts."""
    rng = np.random.default_rng(0)
    words = np.array(["red", "green", "blue", "old", "new", "large", "small"])
    lines = ["a,b,colour,size,note,target"]
    for _ in range(240):
        a, b = rng.normal(size=2)
        colour, size = rng.choice(["r", "g", "b"]), rng.choice(["s", "m", "l", "xl"])
        note = " ".join(rng.choice(words, size=4))
        label = "yes" if a + b + (colour == "r") + ("old" in note) > 0.9 else "no"
        lines.append(f"{a:.4f},{b:.4f},{colour},{size},{note},{label}")
    (folder / "mixed.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "mixed.csv")


def solo(one: Experiment, prepared: Prepared, metric: str) -> Trainer:
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    model = build_model(one.model, inputs, one.train.seed)
    return Trainer(one.train, model, prepared.facts, prepared.train, prepared.validation, PlainSession(), metric)


def stacked(base: Experiment, prepared: Prepared, metric: str) -> Stack:
    return Stack(base, prepared.facts, prepared.train, prepared.validation, metric=metric, device=CPU)


def off(one: Checkpoint, two: Checkpoint, part: str = "model") -> float:
    """The largest difference between the weights of two checkpoints, or of their best epochs."""
    ours, theirs = (one["best"]["model"], two["best"]["model"]) if part == "best" else (one["model"], two["model"])
    assert list(ours) == list(theirs)
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in theirs)


def trained_both_ways(trials: list[Experiment], metric: str, data: Prepared | None = None) -> list[tuple[Any, Any]]:
    """Checkpoints of each trial after its last epoch: as a lane, and by itself."""
    prepared = data or prepare(trials[0].data)
    stack = stacked(trials[0], prepared, metric)
    for number, one in enumerate(trials):
        stack.add(str(number), one)
    ended: dict[str, Any] = {}
    while stack.num_lanes:
        stack.train_epoch(stay)
        done = [name for name in stack.names if stack.lane(name).finished]
        ended |= {name: stack.checkpoint(name) for name in done}
        stack.drop(done)
    pairs = []
    for number, one in enumerate(trials):
        trainer = solo(one, prepared, metric)
        while not trainer.finished:
            trainer.train_epoch()
        pairs.append((ended[str(number)], trainer.checkpoint()))
    return pairs


def require_alike(pairs: list[tuple[Any, Any]], metric: str) -> None:
    for lane, alone in pairs:
        assert (far := off(lane, alone)) < CLOSE, far
        assert (far := off(lane, alone, "best")) < CLOSE, far
        assert (lane["epoch"], lane["samples"], lane["step"]) == (alone["epoch"], alone["samples"], alone["step"])
        assert lane["best"]["epoch"] == alone["best"]["epoch"]
        for ours, theirs in zip(lane["history"], alone["history"], strict=True):
            shared = set(ours) - {"seconds"}
            assert {"train/loss", f"validation/{metric}", "epoch"} <= shared
            for name in shared:
                assert np.isclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6, equal_nan=True), name
