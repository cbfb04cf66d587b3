"""A slot's surroundings in this process, over real rows."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from training.config import Experiment
from training.data.folds import read_folds
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.search.messages import Heard
from training.search.slot.surroundings import FoldRows, Surroundings
from training.search.slot.workbench import Run

SPACE = {"train.peak_lr": {"log": [1e-4, 1e-1]}}


def iris(storage: Path, **more: Any) -> Experiment:
    """A small experiment; `train`, `model` and `search` are joined with what it has."""
    train = {"epochs": 6, "global_batch_size": 16, "early_stopping": None, **more.pop("train", {})}
    search = {"space": SPACE, "fuse": False, **more.pop("search", {})}
    model = more.pop("model", {"kind": "mlp", "hidden": [8]})
    return Experiment.model_validate(
        {
            "name": "slots", "storage": str(storage), "data": {"source": "sklearn:iris", "target": "target"},
            "model": model, "train": train, "search": search, **more,
        }
    )  # fmt: skip


@cache
def _iris() -> Prepared:
    return prepare(iris(Path("/unused")).data)


def around_of(wanted: Experiment) -> Surroundings:
    """What a slot of it has around its trials."""
    assert wanted.search is not None
    prepared, folds = _iris(), None
    if wanted.search.folds:
        read = read_folds(wanted.data, wanted.search.folds)
        folds = FoldRows(read.for_workers(), read.splits)
    uri = str(Path(wanted.storage) / wanted.name / "checkpoints")
    return Surroundings(
        wanted, (prepared.facts, prepared.train, prepared.validation), folds, "accuracy", uri, "", Path(),
        torch.device("cpu"),
    )  # fmt: skip


def to_its_end(run: Run, heard: list[Heard] | None = None) -> list[Heard]:
    """Advance as long as it can, hearing it after each turn."""
    heard = [] if heard is None else heard
    while run.can_advance:
        run.advance()
        heard += run.heard()
    return heard


def curve_of(heard: list[Heard], trial: str = "t0000") -> list[float]:
    """Scores of all levels that were told of a trial."""
    return [score for each in heard if each.trial == trial for score in each.curve]
