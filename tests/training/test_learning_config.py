"""What `manta check` can refuse before any data is read."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from training.config import Experiment
from training.config_file import load_experiment
from training.errors import ConfigError
from training.learning_config import AugmentConfig


def experiment(data: dict[str, Any] | None = None, **settings: Any) -> Experiment:
    return Experiment.model_validate(
        {"name": "x", "data": {"source": "a.csv", "target": "y"} | (data or {})} | settings
    )


@pytest.mark.parametrize(
    ("train", "key"),
    [
        ({"loss": {"kind": "focal"}}, "train.loss.kind"),
        ({"label_smoothing": 0.1}, "train.label_smoothing"),
        ({"imbalance": {"class_weights": "balanced"}}, "train.imbalance.class_weights"),
        ({"imbalance": {"sampling": "balanced"}}, "train.imbalance.sampling"),
        ({"imbalance": {"resample": "smote"}}, "train.imbalance.resample"),
        ({"imbalance": {"threshold": 0.3}}, "train.imbalance.threshold"),
    ],
)
def test_classes_are_not_asked_of_a_regression(train: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} .*data.task is regression"):
        experiment({"task": "regression"}, train=train)
    experiment({"task": "classification"}, train=train)
    experiment(train=train)  # the task is not known yet


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"train": {"imbalance": {"resample": "undersample"}}}, "train.imbalance.resample"),
        ({"train": {"imbalance": {"sampling": "balanced"}}}, "train.imbalance.sampling=balanced"),
        ({"ensemble": {"members": 3}}, "ensemble.balanced=true"),
    ],
)
def test_what_needs_all_rows_is_not_asked_of_a_stream(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} needs all rows in memory"):
        experiment({"loading": "stream"}, **settings)
    experiment(**settings)


def test_a_stream_takes_the_other_methods() -> None:
    taken = experiment(
        {"loading": "stream"},
        ensemble={"members": 3, "balanced": False},
        train={"imbalance": {"class_weights": "balanced", "threshold": "mcc"}, "augment": {"mixup": 0.2}},
    )
    assert taken.data.loading == "stream"
    assert taken.train.imbalance.threshold == "mcc"


def test_methods_may_be_combined() -> None:
    """Resampled rows may be drawn equally often, and weighted: weights go by the rows that are drawn."""
    both = {"resample": "smote", "ratio": 0.1, "sampling": "balanced", "class_weights": {"yes": 2}}
    assert experiment(train={"imbalance": both}, ensemble={"members": 3}).balanced_by == (
        "train.imbalance.class_weights",
        "train.imbalance.sampling",
        "train.imbalance.resample",
        "ensemble.balanced",
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.imbalance.threshold: 1.5", "must be one of f1, balanced_accuracy, mcc or below 1"),
        ("train.imbalance.threshold: f2", "must be one of f1, balanced_accuracy, mcc"),
        ("train.imbalance.class_weights: {yes: -1}", "must be at least 0"),
        ("train.augment.flip: sideways", "must be one of none, horizontal, vertical, both"),
        ("ensemble.members: 1", "must be at least 2"),
        ("train: {parallel: fsdp, micro_batch: auto}", "give micro_batch a number"),
        ("train.optimizer: {kind: lion, target: 'torch.optim:SGD'}", "are two optimizers"),
    ],
)
def test_wrong_values_are_told_in_words(setting: str, said: str, tmp_path: Path) -> None:
    key, _, value = setting.partition(": ")
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndata: {source: a.csv, target: y}\n")
    with pytest.raises(ConfigError, match=said):
        load_experiment(file, [f"{key}={value}"])


def test_augmentation_is_off_unless_something_is_set() -> None:
    assert not AugmentConfig().is_on
    assert AugmentConfig(noise=0.1).is_on
