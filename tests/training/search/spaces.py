"""Experiments with search spaces, for several tests. No data is read."""

from typing import Any

from training.config import Experiment
from training.config_file import apply_overrides
from training.search.space.drawing import Space

KINDS = {
    "model.hidden": {"choice": [[64], [128, 128]], "when": {"model.kind": "mlp"}},
    "model.kind": {"choice": ["mlp", "table_resnet"]},
    "model.dim": {"ordered": [64, 128, 192], "when": {"model.kind": "table_resnet"}},
    "train.peak_lr": {"log": [1e-4, 1e-1]},
    "train.optimizer.kind": {"choice": ["adamw", "sgd"]},
    "train.optimizer.momentum": {"range": [0.5, 0.95], "step": 0.15, "when": {"train.optimizer.kind": "sgd"}},
    "train.optimizer.nesterov": {
        "choice": [True, False],
        "when": {"train.optimizer.momentum": [0.8, 0.95], "model.kind": "mlp"},
    },
}
FINITE = {key: dimension for key, dimension in KINDS.items() if key != "train.peak_lr"}


def experiment(space: dict[str, Any], **more: Any) -> Experiment:
    """An experiment over a table, with sections of one's own; `search` is joined with the space."""
    search = {"space": space, **more.pop("search", {})}
    return Experiment.model_validate(
        {"name": "searched", "data": {"source": "t.csv", "target": "y"}, "search": search, **more}
    )


def space_of(wanted: Experiment) -> Space:
    """Its space."""
    assert wanted.search is not None
    return Space(wanted.search, wanted)


def applies(wanted: Experiment, values: dict[str, Any]) -> Experiment:
    """The trial's experiment; raises where the schema refuses it."""
    return apply_overrides(wanted, values)
