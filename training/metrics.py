"""Scores, the same ones in training, compression and the report. torchmetrics gathers them over workers.

Shape letters: N rows, K classes, P parts of the rows.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.aggregation import MeanMetric
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError
from torchmetrics.utilities import dim_zero_cat

from training.package.manifest import Task
from training.ranking import Ranking

MAX_CLASSES_TOLD = 50  # more classes than this have no F1 of their own in the held-out scores: nobody reads a thousand


class Scores:
    """The scores of one set of rows, fed batch by batch. Over several workers `compute` gives the global value.

    Args:
        task: what is predicted.
        num_classes: of a classification.
        device: where the scores come from.
        threshold: of two classes, the probability from which the second is the answer; None: the more probable one.
        labels: names of the classes, to have an F1 score of each, `f1/<label>`; without them there is none.
    """

    def __init__(
        self, task: Task, num_classes: int, device: torch.device | str = "cpu", threshold: float | None = None,
        labels: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._threshold, self._labels = threshold, labels if len(labels) <= MAX_CLASSES_TOLD else ()
        self._numbers: dict[str, Metric] = {}
        if task == "regression":
            self._numbers = {"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2()}
        self._is_regression = task == "regression"
        self._counts, self._ranking, self._log_loss = ClassCounts(num_classes), Ranking(), MeanMetric()
        for number in self._numbers.values():
            number.set_dtype(torch.float64)  # sums over many rows in float32 lose their last digits
        for metric in (*self._numbers.values(), self._counts, self._ranking, self._log_loss):
            metric.to(device)

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows.

        Args:
            scores: probabilities (N, K), or predictions (N,) for a regression.
            target_N: class ids, or values.
        """
        for metric in self._numbers.values():
            metric.update(scores.double(), target_N.double())
        if not self._is_regression:
            picked_N = scores.gather(1, target_N[:, None])[:, 0].clamp_min(1e-12)
            self._log_loss.update(-picked_N.log())
            self._counts.update(self._answers(scores), target_N)
            self._ranking.update(scores, target_N)

    def compute(self) -> dict[str, float]:
        """Scores by name; NaN where one does not exist. Reads the device, so call it once an epoch.

        Starts afresh afterwards.
        """
        return self._of_numbers() if self._is_regression else self._of_classes()

    def _answers(self, scores_NK: Tensor) -> Tensor:
        if self._threshold is None:
            return scores_NK.argmax(dim=1)
        return (scores_NK[:, 1] >= self._threshold).long()

    def _of_numbers(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, metric in self._numbers.items():
            values[name] = float(metric.compute())
            metric.reset()
        return values

    def _of_classes(self) -> dict[str, float]:
        found = class_scores(self._counts.compute().cpu().numpy(), self._labels)
        roc_auc, average_precision = self._ranking.compute()
        found |= {"roc_auc": float(roc_auc), "average_precision": float(average_precision)}
        found["log_loss"] = float(self._log_loss.compute())
        for metric in (self._counts, self._ranking, self._log_loss):
            metric.reset()
        return found


class R2(Metric):
    """Share of the target's variance that is explained; NaN where the target does not vary.

    torchmetrics' own takes the difference of two large sums, which leaves no digits of values far from 0, and calls
    whatever is off by less than 1e-4 exact, so that a target in small units scores 1.
    """

    full_state_update = False
    moments: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("moments", default=[], dist_reduce_fx="cat")

    def update(self, predicted_N: Tensor, target_N: Tensor) -> None:
        """Add rows, as float64: how many, their mean, squares around it, and squares of the errors."""
        mean, num_rows = target_N.mean(), target_N.new_tensor(len(target_N))
        squares = ((target_N - mean) ** 2).sum()
        self.moments.append(torch.stack([num_rows, mean, squares, ((predicted_N - target_N) ** 2).sum()])[None])

    def compute(self) -> Tensor:
        """The share. Source: Chan, Golub, LeVeque, Updating Formulae for Computing Sample Variances, 1979."""
        num_rows_P, mean_P, squares_P, errors_P = dim_zero_cat(self.moments).unbind(1)
        mean = (num_rows_P * mean_P).sum() / num_rows_P.sum()
        total = squares_P.sum() + (num_rows_P * (mean_P - mean) ** 2).sum()
        # Rounding of the mean leaves less than this, and a single float32 that differs by its last bit leaves more.
        varies = total > 1e-24 * num_rows_P.sum() * mean**2
        return torch.where(varies, 1 - errors_P.sum() / total, torch.nan)


class ClassCounts(Metric):
    """Rows of each class that are answered right, answered at all, and there: (3, K). All label scores need no more."""

    full_state_update = False
    counts_3K: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self._num_classes = num_classes
        self.add_state("counts_3K", default=torch.zeros(3, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, answer_N: Tensor, target_N: Tensor) -> None:
        """Add rows: class ids answered, and those that were right."""
        right_N = target_N[answer_N == target_N]
        self.counts_3K += torch.stack(
            [torch.bincount(ids, minlength=self._num_classes) for ids in (right_N, answer_N, target_N)]
        )

    def compute(self) -> Tensor:
        """The counts."""
        return self.counts_3K


def class_scores(counts_3K: np.ndarray, labels: Sequence[str] = ()) -> dict[str, float]:
    """Scores of labels, as scikit-learn defines them, from what `ClassCounts` counts.

    `balanced_accuracy` is the mean over the classes that rows have, `f1_macro` over those that rows have or are
    answered. `mcc` is Matthews' coefficient, for several classes as in Gorodkin, Comput. Biol. Chem. 28 (2004); it is 0
    where one class has all rows or all answers. With two classes `precision`, `recall` and `f1` are the second's.
    """
    right_K, answered_K, there_K = counts_3K.astype(np.float64)
    total = there_K.sum()
    recall_K = _share(right_K, there_K)
    f1_K = _share(2 * right_K, answered_K + there_K)
    covariance = right_K.sum() * total - answered_K @ there_K
    spread = math.sqrt((total**2 - answered_K @ answered_K) * (total**2 - there_K @ there_K))
    values = {
        "accuracy": right_K.sum() / total,
        "balanced_accuracy": recall_K[there_K > 0].mean(),
        "f1_macro": f1_K[answered_K + there_K > 0].mean(),
        "mcc": covariance / spread if spread > 0 else 0.0,
    }
    if len(there_K) == 2:
        values |= {"f1": f1_K[1], "precision": _share(right_K, answered_K)[1], "recall": recall_K[1]}
    values |= {f"f1/{label}": f1_K[i] for i, label in enumerate(labels)}
    return {name: float(value) for name, value in values.items()}


def _share(part_K: np.ndarray, whole_K: np.ndarray) -> np.ndarray:
    """part / whole, 0 where the whole is."""
    return np.divide(part_K, whole_K, out=np.zeros_like(part_K), where=whole_K > 0)


def held_out_scores(
    task: Task,
    scores: np.ndarray,
    target_N: np.ndarray,
    *,
    labels: Sequence[str] = (),
    threshold: float | None = None,
) -> dict[str, float]:
    """All scores of one set of predictions that exist for it, in one call. Shapes and the rest as in `Scores`."""
    collector = Scores(task, scores.shape[1] if task == "classification" else 0, "cpu", threshold, labels)
    collector.update(torch.from_numpy(np.ascontiguousarray(scores)), torch.from_numpy(np.ascontiguousarray(target_N)))
    return {name: value for name, value in collector.compute().items() if math.isfinite(value)}
