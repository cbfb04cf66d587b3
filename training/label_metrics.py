"""Scores of several labels a row, each answered by itself. Shape letters: N rows, K labels."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from training.ranking import CLASSES_AT_A_TIME, ranking_scores

GIVEN_FROM = 0.5  # probability from which a label is given, where nothing else is said
TINY = 1e-12  # a probability of 0 costs this much less than infinity


class LabelCounts(Metric):
    """What all label scores but those of the ranking need: sums, so that workers' parts add up exactly."""

    full_state_update = False
    counts_3K: Tensor
    totals_2: Tensor
    log_loss: Tensor

    def __init__(self, num_labels: int, threshold: float | None) -> None:
        super().__init__()
        self._threshold = GIVEN_FROM if threshold is None else threshold
        self.add_state("counts_3K", default=torch.zeros(3, num_labels, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("totals_2", default=torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("log_loss", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores_NK: Tensor, target_NK: Tensor) -> None:
        """Add rows: a probability of each label, and whether it is there."""
        there_NK, given_NK = target_NK > 0.5, scores_NK >= self._threshold
        self.counts_3K += torch.stack([matrix.sum(dim=0) for matrix in (there_NK & given_NK, given_NK, there_NK)])
        exact = (there_NK == given_NK).all(dim=1).sum()
        self.totals_2 += torch.stack([exact, exact.new_tensor(len(scores_NK))])
        said_NK = torch.where(there_NK, scores_NK, 1 - scores_NK).double()
        self.log_loss -= said_NK.clamp_min(TINY).log().mean(dim=1).sum()

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Labels right, given and there (3, K); rows that are right in every label, and all rows; sum of losses."""
        return self.counts_3K, self.totals_2, self.log_loss


class LabelRanking(Metric):
    """Area under the ROC curve and average precision: means over the labels that some rows have and some have not."""

    full_state_update = False
    scores: list[Tensor]
    target: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")

    def update(self, scores_NK: Tensor, target_NK: Tensor) -> None:
        """Add rows."""
        self.scores.append(scores_NK)
        self.target.append((target_NK > 0.5).to(torch.uint8))

    def compute(self) -> tuple[Tensor, Tensor]:
        """`roc_auc` and `average_precision`; NaN where no label has both."""
        scores_NK, target_NK = dim_zero_cat(self.scores), dim_zero_cat(self.target).bool()
        parts = [
            torch.stack(ranking_scores(some_NK, true_NK))
            for some_NK, true_NK in zip(
                scores_NK.split(CLASSES_AT_A_TIME, dim=1), target_NK.split(CLASSES_AT_A_TIME, dim=1), strict=True
            )
        ]
        auc_K, precision_K = torch.cat(parts, dim=1)
        return auc_K.nanmean(), precision_K.nanmean()


def label_scores(counts_3K: np.ndarray, num_exact: int, num_rows: int) -> dict[str, float]:
    """Scores of labels as scikit-learn defines them for several a row; an F1 of a label nobody has or gets is left out.

    Args:
        counts_3K: rows of each label that are right, given it, and have it.
        num_exact: rows that are right in every label.
        num_rows: all rows.
    """
    right_K, given_K, there_K = counts_3K.astype(np.float64)
    f1_K = np.divide(2 * right_K, given_K + there_K, out=np.zeros_like(right_K), where=given_K + there_K > 0)
    told = given_K + there_K > 0
    wrong = (given_K + there_K - 2 * right_K).sum()
    pairs = (given_K + there_K).sum()
    return {
        "f1_micro": float(2 * right_K.sum() / pairs) if pairs else 0.0,
        "f1_macro": float(f1_K[told].mean()) if told.any() else 0.0,
        "subset_accuracy": num_exact / num_rows,
        "hamming_loss": float(wrong / (num_rows * len(right_K))),
    }
