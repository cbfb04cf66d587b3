"""Settings that can only be judged once the data is known: before anything trains, not after."""

from collections.abc import Iterator, Set

import numpy as np

from training.data.prepared import Facts
from training.errors import ConfigError, DataError
from training.learning_config import AugmentConfig, ImbalanceConfig
from training.task_settings import unsuited
from training.train_config import TrainConfig

_OF_IMAGES = ("flip", "shift", "rotate_degrees", "crop", "erase", "cutmix")


def require_suitable(config: TrainConfig, facts: Facts, validation_target: np.ndarray) -> None:
    """Raise ConfigError with every setting of `train` that does not suit the data.

    Raises:
        ConfigError: as said.
        DataError: a threshold is to be tuned, and a class has no validation row.
    """
    problems = [
        *unsuited(config, facts.task), *_of_classes(config.imbalance, facts), *_of_inputs(config.augment, facts)
    ]  # fmt: skip
    if problems:
        raise ConfigError("\n  ".join(["settings do not suit the data", *problems]))
    if isinstance(goal := config.imbalance.threshold, str) and facts.task == "classification":
        require_both_classes(validation_target, facts.labels, goal)


def require_defined(metric: str, facts: Facts, validation_target: np.ndarray) -> None:
    """Raise DataError where the deciding score can have no value in any epoch, whatever is trained."""
    if metric not in ("roc_auc", "average_precision") or facts.task != "classification" or len(facts.labels) != 2:
        return
    present = [facts.labels[number] for number in np.unique(validation_target)] if len(validation_target) else []
    if len(present) == 1:
        raise DataError(
            f"validation/{metric} compares two classes, and all {len(validation_target)} validation rows are "
            f"{present[0]!r}",
            "raise data.split.validation, stratify the split, or decide by another score: search.metric",
        )


def require_both_classes(target_N: np.ndarray, labels: tuple[str, ...], goal: str) -> None:
    """Raise DataError where a class has no row among those that a threshold is tuned on."""
    counts = np.bincount(target_N, minlength=len(labels))
    if counts.all():
        return
    told = ", ".join(f"{count} of {label!r}" for label, count in zip(labels, counts, strict=True))
    raise DataError(
        f"train.imbalance.threshold={goal} is tuned on validation rows, which need both classes; there are {told}",
        "raise data.split.validation, stratify the split, or give train.imbalance.threshold a number",
    )


def _of_classes(config: ImbalanceConfig, facts: Facts) -> Iterator[str]:
    if facts.task not in ("classification", "multilabel"):
        return
    labels = ", ".join(map(repr, facts.labels))
    if isinstance(config.class_weights, dict):
        if unknown := [label for label in config.class_weights if label not in facts.labels]:
            named = ", ".join(map(repr, unknown))
            yield f"train.imbalance.class_weights names {named}, which is no label; there are {labels}"
        if not any(config.class_weights.get(label, 1.0) for label in facts.labels):
            yield "train.imbalance.class_weights are 0 for every class; at least one must be above 0"
    if config.threshold is not None and len(facts.labels) != 2 and facts.task == "classification":
        yield f"train.imbalance.threshold is for two classes, there are {len(facts.labels)}: {labels}"


def _of_inputs(config: AugmentConfig, facts: Facts) -> Iterator[str]:
    plain, kinds = AugmentConfig(), {spec.kind for spec in facts.inputs}
    if "image" not in kinds:
        for name in _OF_IMAGES:
            if getattr(config, name) != getattr(plain, name):
                yield f"train.augment.{name} is for images, and the inputs are {_listed(kinds)}"
    if config.feature_dropout and kinds == {"image"}:
        yield "train.augment.feature_dropout is for tables, and the input is an image; train.augment.erase is alike"
    if config.noise and not kinds & {"image", "numeric"}:
        yield f"train.augment.noise is for images and numbers, and the inputs are {_listed(kinds)}"


def _listed(kinds: Set[str]) -> str:
    return " and ".join(sorted(kinds)) or "none"
