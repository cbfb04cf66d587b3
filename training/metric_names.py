"""Names of scores and which way is better. No torch here: `manta check` reads it."""

import math
from collections.abc import Mapping
from typing import Literal

from training.package.manifest import Task

Mode = Literal["max", "min"]
CLASSIFICATION_METRICS: dict[str, Mode] = {
    "accuracy": "max",
    "balanced_accuracy": "max",
    "f1_macro": "max",
    "mcc": "max",
    "f1": "max",
    "precision": "max",
    "recall": "max",
    "roc_auc": "max",
    "average_precision": "max",
    "log_loss": "min",
}
OF_TWO_CLASSES = ("f1", "precision", "recall")  # scores of the positive label
REGRESSION_METRICS: dict[str, Mode] = {"rmse": "min", "mae": "min", "r2": "max"}
QUANTILE_METRICS: dict[str, Mode] = {"pinball": "min"}  # of a regression that predicts a quantile
MULTILABEL_METRICS: dict[str, Mode] = {
    "average_precision": "max",
    "roc_auc": "max",
    "f1_macro": "max",
    "f1_micro": "max",
    "subset_accuracy": "max",
    "hamming_loss": "min",
    "log_loss": "min",
}
LANGUAGE_METRICS: dict[str, Mode] = {"log_loss": "min", "perplexity": "min", "bits_per_byte": "min", "accuracy": "max"}
METRIC_MODES: dict[str, Mode] = {
    **CLASSIFICATION_METRICS, **REGRESSION_METRICS, **QUANTILE_METRICS, **MULTILABEL_METRICS, **LANGUAGE_METRICS
}  # fmt: skip
DEFAULTS: dict[str, str] = {
    "classification": "accuracy", "regression": "rmse", "multilabel": "average_precision",
    "language_modelling": "log_loss",
}  # fmt: skip


def default_metric(task: Task, *, of_quantile: bool = False) -> str:
    """The score that decides when the experiment names none; a quantile is not judged by its distance from the mean."""
    return "pinball" if of_quantile and task == "regression" else DEFAULTS[task]


def metrics_of(task: Task, num_classes: int, *, of_quantile: bool = False) -> tuple[str, ...]:
    """Scores that exist for this task."""
    match task:
        case "regression":
            return (*REGRESSION_METRICS, *(QUANTILE_METRICS if of_quantile else ()))
        case "multilabel":
            return tuple(MULTILABEL_METRICS)
        case "language_modelling":
            # What is served says how likely a text is, not which byte comes next: its accuracy is not measured.
            return tuple(name for name in LANGUAGE_METRICS if name != "accuracy")
    return tuple(name for name in CLASSIFICATION_METRICS if num_classes == 2 or name not in OF_TWO_CLASSES)


def range_of(metric: str) -> tuple[float, float]:
    """The values that a score can take."""
    match metric:
        case "mcc":
            return -1.0, 1.0
        case "r2":
            return -math.inf, 1.0
    return (0.0, math.inf) if METRIC_MODES[metric] == "min" else (0.0, 1.0)


def is_better(score: float, than: float | None, mode: Mode, min_delta: float = 0.0) -> bool:
    """True when `score` beats `than` by more than `min_delta`; anything beats nothing, NaN beats nothing."""
    if math.isnan(score):
        return False
    if than is None or math.isnan(than):
        return True
    return score > than + min_delta if mode == "max" else score < than - min_delta


def prefixed(part: str, scores: Mapping[str, float]) -> dict[str, float]:
    """`{"accuracy": x}` as `{"validation/accuracy": x}`."""
    return {f"{part}/{name}": value for name, value in scores.items()}
