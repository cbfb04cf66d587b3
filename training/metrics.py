"""Scores: torchmetrics for all of them, so that training, compression and the report mean the same thing.

Shape letters: N rows, K classes.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryAveragePrecision,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from training.package.manifest import Task


class Scores:
    """The scores of one set of rows, fed batch by batch. Over several workers `compute` gives the global value."""

    def __init__(self, task: Task, num_classes: int, device: torch.device | str = "cpu") -> None:
        self._task = task
        self._binary = num_classes == 2
        self._num_rows = 0
        self._metrics = MetricCollection(_build(task, num_classes), compute_groups=False).to(device)
        self._log_loss = MeanMetric().to(device) if task == "classification" else None

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows.

        Args:
            scores: probabilities (N, K), or predictions (N,) for a regression.
            target_N: class ids, or values.
        """
        self._num_rows += len(target_N)
        if self._log_loss is not None:
            picked_N = scores.gather(1, target_N[:, None])[:, 0].clamp_min(1e-12)
            self._log_loss.update(-picked_N.log())
        for name, metric in self._metrics.items():
            positive_only = self._binary and name in ("roc_auc", "average_precision")
            metric.update(scores[:, 1] if positive_only else scores, target_N)

    def compute(self) -> dict[str, float]:
        """Scores by name. Reads the device, so call it once an epoch. Starts afresh afterwards."""
        with warnings.catch_warnings():
            # A part without one of the classes has no AUC for it; torchmetrics says so on every call.
            warnings.filterwarnings("ignore", message=".*(No positive samples|No negative samples).*")
            values = {name: self._value(name, metric) for name, metric in self._metrics.items()}
        self._metrics.reset()
        self._num_rows = 0
        if self._log_loss is not None:
            values["log_loss"] = float(self._log_loss.compute())
            self._log_loss.reset()
        return values

    def _value(self, name: str, metric: Any) -> float:
        is_undefined = name == "r2" and self._num_rows < 2  # where torchmetrics raises
        return math.nan if is_undefined else float(metric.compute())


def _build(task: Task, num_classes: int) -> dict[str, Metric | MetricCollection]:
    if task == "regression":
        return {"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2Score()}
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
        "balanced_accuracy": MulticlassAccuracy(num_classes, average="macro", validate_args=False),
        "f1_macro": MulticlassF1Score(num_classes, average="macro", validate_args=False),
    }
    if num_classes == 2:
        metrics["roc_auc"] = BinaryAUROC(validate_args=False)
        metrics["average_precision"] = BinaryAveragePrecision(validate_args=False)
    else:
        metrics["roc_auc"] = MulticlassAUROC(num_classes, average="macro", thresholds=200, validate_args=False)
    return metrics


def held_out_scores(task: Task, scores: np.ndarray, target_N: np.ndarray) -> dict[str, float]:
    """All scores of one set of predictions that exist for it, in one call. Shapes as in `Scores.update`."""
    collector = Scores(task, scores.shape[1] if task == "classification" else 0)
    collector.update(torch.from_numpy(np.ascontiguousarray(scores)), torch.from_numpy(np.ascontiguousarray(target_N)))
    return {name: value for name, value in collector.compute().items() if math.isfinite(value)}
