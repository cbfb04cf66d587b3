"""Scores, the same ones in training, compression and the report. torchmetrics gathers them over workers.

Shape letters: N rows, K classes, P parts of the rows.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.aggregation import MeanMetric
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError
from torchmetrics.utilities import dim_zero_cat

from training.label_metrics import LabelCounts, LabelRanking, label_scores
from training.losses.rows import pinball
from training.package.manifest import Task
from training.ranking import Ranking
from training.token_metrics import TokenSums, scores_of_texts, token_scores

MAX_CLASSES_TOLD = 50  # more classes than this have no F1 of their own in the held-out scores: nobody reads a thousand


class Scores:
    """The scores of one set of rows, fed batch by batch. Over several workers `compute` gives the global value.

    Args:
        task: what is predicted.
        num_classes: of a classification, or labels of several a row.
        device: where the scores come from.
        threshold: of two classes, the probability from which the second is the answer, None: the more probable one; of
            several labels a row, the probability from which each is given, None: 0.5.
        quantile: that a regression predicts, to have its `pinball` loss; without it there is none.
        labels: names of the classes, to have an F1 score of each, `f1/<label>`; without them there is none.
    """

    def __init__(
        self, task: Task, num_classes: int, device: torch.device | str = "cpu", threshold: float | None = None,
        labels: Sequence[str] = (), quantile: float | None = None,
    ) -> None:  # fmt: skip
        self._collector: Collector
        match task:
            case "regression":
                self._collector = OfNumbers(device, quantile)
            case "multilabel":
                self._collector = OfLabels(num_classes, device, threshold)
            case "language_modelling":
                self._collector = OfTokens(device)
            case "classification":
                self._collector = OfClasses(num_classes, device, threshold, labels)

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows.

        Args:
            scores: as `training.outputs.to_scores` gives them.
            target_N: as in `Part`.
        """
        self._collector.update(scores, target_N)

    def compute(self) -> dict[str, float]:
        """Scores by name; NaN where one does not exist. Reads the device, so call it once an epoch.

        Starts afresh afterwards.
        """
        found = self._collector.compute()
        self.reset()
        return found

    def reset(self) -> None:
        """Forget the rows that were added."""
        for metric in self._collector.metrics:
            metric.reset()


class Collector(Protocol):
    """Scores of one task: update and compute as of `Scores`."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """What holds the rows."""

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows."""

    def compute(self) -> dict[str, float]:
        """Scores by name."""


class OfClasses:
    """Scores of a classification."""

    def __init__(
        self, num_classes: int, device: torch.device | str, threshold: float | None, labels: Sequence[str]
    ) -> None:
        self._threshold, self._labels = threshold, labels if len(labels) <= MAX_CLASSES_TOLD else ()
        self._counts, self._ranking, self._log_loss = ClassCounts(num_classes), Ranking(), MeanMetric()
        self.metrics = (self._counts, self._ranking, self._log_loss)
        for metric in self.metrics:
            metric.to(device)

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows: probabilities (N, K) and class ids."""
        picked_N = scores.gather(1, target_N[:, None])[:, 0].clamp_min(1e-12)
        self._log_loss.update(-picked_N.log())
        self._counts.update(self._answers(scores), target_N)
        self._ranking.update(scores, target_N)

    def _answers(self, scores_NK: Tensor) -> Tensor:
        if self._threshold is None:
            return scores_NK.argmax(dim=1)
        return (scores_NK[:, 1] >= self._threshold).long()

    def compute(self) -> dict[str, float]:
        """Scores by name."""
        found = class_scores(self._counts.compute().cpu().numpy(), self._labels)
        roc_auc, average_precision = self._ranking.compute()
        found |= {"roc_auc": float(roc_auc), "average_precision": float(average_precision)}
        found["log_loss"] = float(self._log_loss.compute())
        return found


class OfNumbers:
    """Scores of a regression."""

    def __init__(self, device: torch.device | str, quantile: float | None) -> None:
        self._numbers: dict[str, Metric] = {
            "rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2(),
        }  # fmt: skip
        self._quantile, self._pinball = quantile, MeanMetric()
        self.metrics = (*self._numbers.values(), self._pinball)
        for number in self.metrics:
            number.set_dtype(torch.float64)  # sums over many rows in float32 lose their last digits
            number.to(device)

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows: predictions and values (N,)."""
        predicted_N, target_N = scores.double(), target_N.double()
        for metric in self._numbers.values():
            metric.update(predicted_N, target_N)
        if self._quantile is not None:
            self._pinball.update(pinball(predicted_N, target_N, self._quantile))

    def compute(self) -> dict[str, float]:
        """Scores by name."""
        judged = self._numbers | ({"pinball": self._pinball} if self._quantile is not None else {})
        return {name: float(metric.compute()) for name, metric in judged.items()}


class OfLabels:
    """Scores of several labels a row."""

    def __init__(self, num_labels: int, device: torch.device | str, threshold: float | None) -> None:
        self._counts, self._ranking = LabelCounts(num_labels, threshold).to(device), LabelRanking().to(device)
        self.metrics = (self._counts, self._ranking)

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows: probabilities, and 0 or 1 (N, K)."""
        self._counts.update(scores, target_N)
        self._ranking.update(scores, target_N)

    def compute(self) -> dict[str, float]:
        """Scores by name."""
        counts_3K, totals_2, log_loss = self._counts.compute()
        num_exact, num_rows = totals_2.tolist()
        found = label_scores(counts_3K.cpu().numpy(), num_exact, num_rows)
        roc_auc, average_precision = self._ranking.compute()
        found |= {"roc_auc": float(roc_auc), "average_precision": float(average_precision)}
        found["log_loss"] = float(log_loss) / num_rows
        return found


class OfTokens:
    """Scores of a language model."""

    def __init__(self, device: torch.device | str) -> None:
        self._sums = TokenSums().to(device)
        self.metrics = (self._sums,)

    def update(self, scores: Tensor, target_N: Tensor) -> None:
        """Add rows: logits (N, L, V) and next tokens (N, L)."""
        self._sums.update(scores, target_N)

    def compute(self) -> dict[str, float]:
        """Scores by name."""
        nats, counts_3 = self._sums.compute()
        num_tokens, num_bytes, num_right = counts_3.tolist()
        return {**token_scores(float(nats), num_tokens, num_bytes), "accuracy": num_right / max(num_tokens, 1)}


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
    quantile: float | None = None,
) -> dict[str, float]:
    """All scores of one set of predictions that exist for it, in one call. Shapes and the rest as in `Scores`.

    Of a language model the scores are the mean log-likelihood a byte of each text, and `target_N` holds (N, 2) how many
    tokens and bytes it has.
    """
    if task == "language_modelling":
        return scores_of_texts(scores, target_N)
    collector = Scores(task, scores.shape[1] if scores.ndim > 1 else 0, "cpu", threshold, labels, quantile)
    # "W" copies what lies in Ray's object store: torch has no read-only tensors.
    collector.update(*(torch.from_numpy(np.require(values, requirements=["C", "W"])) for values in (scores, target_N)))
    return {name: value for name, value in collector.compute().items() if math.isfinite(value)}
