"""Scores of all lanes at once: what decides, the loss that decides between equals, and what comes with them.

Shape letters: L lanes, N rows, B rows of a batch, K outputs, classes or labels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.data.prepared import Facts
from training.learning_config import LossConfig
from training.losses.rows import pinball
from training.metrics import Scores, class_scores
from training.outputs import to_scores
from training.ranking import ranking_scores

RANKED = ("roc_auc", "average_precision")


class LaneScores:
    """Scores of one set of rows in each lane, fed batch by batch.

    Those of a ranking are left out unless one of them decides: they need a sort, which costs more than all the others.

    Args:
        facts: of the data.
        loss: for the quantile that is predicted.
        metric: decides.
        device: of the lanes.
    """

    def __init__(self, facts: Facts, loss: LossConfig, metric: str, device: torch.device) -> None:
        self._facts, self._quantile, self._device = facts, loss.judged_quantile, device
        self._is_ranked = metric in RANKED
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def reset(self) -> None:
        """Forget the rows that were added."""
        self._outputs, self._targets = [], []

    def update(self, output_LBK: Tensor, target: Tensor) -> None:
        """Add rows: what the models gave, and the truth, which all lanes share."""
        self._outputs.append(output_LBK)
        self._targets.append(target)

    def compute(self) -> list[dict[str, float]]:
        """Scores by name, of each lane. Starts afresh afterwards."""
        output_LNK, target = torch.cat(self._outputs, dim=1), torch.cat(self._targets)
        self.reset()
        match self._facts.task:
            case "classification":
                return self._of_classes(output_LNK, target)
            case "regression":
                return self._of_numbers(output_LNK, target)
        return [self._one_by_one(output_NK, target) for output_NK in output_LNK]

    def _one_by_one(self, output_NK: Tensor, target: Tensor) -> dict[str, float]:
        collected = Scores(self._facts.task, len(self._facts.labels), self._device, quantile=self._quantile)
        collected.update(to_scores(output_NK, self._facts), target)
        return collected.compute()

    def _of_classes(self, output_LNK: Tensor, target_N: Tensor) -> list[dict[str, float]]:
        scores_LKN = output_LNK.transpose(1, 2).float().softmax(dim=1)
        num_lanes, num_classes, _ = scores_LKN.shape
        picked_LN = scores_LKN.gather(1, target_N.expand(num_lanes, 1, -1))[:, 0].clamp_min(1e-12)
        log_losses = (-picked_LN.log()).mean(dim=1).tolist()
        # The same as argmax, which takes five times as long over an axis that is not the last.
        answer_LN = scores_LKN.max(dim=1).indices
        counts_L3K = _class_counts(answer_LN, target_N, num_classes)
        found = [
            class_scores(counts_3K) | {"log_loss": log_loss}
            for counts_3K, log_loss in zip(counts_L3K, log_losses, strict=True)
        ]
        if not self._is_ranked:
            return found
        ranked = _rankings(scores_LKN, target_N)
        return [scores | more for scores, more in zip(found, ranked, strict=True)]

    def _of_numbers(self, output_LNK: Tensor, target_N: Tensor) -> list[dict[str, float]]:
        facts = self._facts
        predicted_LN = (output_LNK.float()[:, :, 0] * facts.target_scale + facts.target_mean).double()
        target_N = target_N.double()
        error_LN = predicted_LN - target_N
        squared_L = error_LN.square().mean(dim=1)
        mean = target_N.mean()
        total = (target_N - mean).square().mean()
        # As in `training.metrics.R2`: rounding of the mean leaves less than this.
        r2_L = torch.where(total > 1e-24 * mean.square(), 1 - squared_L / total, torch.nan)
        columns = {"rmse": squared_L.sqrt(), "mae": error_LN.abs().mean(dim=1), "r2": r2_L}
        if self._quantile is not None:
            columns["pinball"] = pinball(predicted_LN, target_N, self._quantile).mean(dim=1)
        table = torch.stack(list(columns.values()), dim=1).tolist()
        return [dict(zip(columns, row, strict=True)) for row in table]


def _class_counts(answer_LN: Tensor, target_N: Tensor, num_classes: int) -> np.ndarray:
    """What `training.metrics.ClassCounts` counts, of each lane (L, 3, K)."""
    num_lanes = len(answer_LN)
    first_L1 = torch.arange(num_lanes, device=answer_LN.device)[:, None] * num_classes
    counts = [
        torch.bincount(ids.flatten(), minlength=num_lanes * num_classes).view(num_lanes, num_classes)
        for ids in ((target_N + first_L1)[answer_LN == target_N], answer_LN + first_L1, target_N + first_L1)
    ]
    return torch.stack(counts, dim=1).cpu().numpy()


def _rankings(scores_LKN: Tensor, target_N: Tensor) -> list[dict[str, float]]:
    """`roc_auc` and `average_precision` as `training.ranking.Ranking` has them, lane by lane to bound the sort."""
    num_classes = scores_LKN.shape[1]
    classes_K = torch.arange(1 if num_classes == 2 else 0, num_classes, device=scores_LKN.device)
    is_right_NK = target_N[:, None] == classes_K
    found: Sequence[tuple[Tensor, Tensor]] = [
        ranking_scores(scores_KN[classes_K].T.contiguous(), is_right_NK) for scores_KN in scores_LKN
    ]
    means = [[float(column_K.nanmean()) for column_K in columns] for columns in found]
    return [dict(zip(RANKED, pair, strict=True)) for pair in means]
