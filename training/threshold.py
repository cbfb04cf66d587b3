"""The probability from which the second of two classes is the answer, tuned on validation rows.

Shape letters: N rows, K classes, S distinct scores.
"""

from typing import Literal

import numpy as np
import torch
from torch import nn

from training.data.prepared import Facts, Part
from training.learning_config import ImbalanceConfig
from training.outputs import to_scores
from training.suitable import require_both_classes

Goal = Literal["f1", "balanced_accuracy", "mcc"]
SCORING_BATCH = 4096


def threshold_of(config: ImbalanceConfig, model: nn.Module, facts: Facts, validation: Part) -> float | None:
    """What `train.imbalance.threshold` asks for: nothing, a number as it is, or one tuned on the validation rows.

    Raises:
        DataError: a class has no validation row to tune on.
    """
    wished = config.threshold
    if wished is None or isinstance(wished, float):
        return wished
    require_both_classes(validation.target, facts.labels, wished)
    return best_threshold(probabilities(model, facts, validation)[:, 1], validation.target == 1, wished)


@torch.no_grad()
def probabilities(model: nn.Module, facts: Facts, part: Part) -> np.ndarray:
    """Of the classes, for all rows of a part (N, K). The model is left in evaluation mode."""
    model.eval()
    tensors = [torch.from_numpy(np.array(values)) for values in part.tensors.values()]  # copies: some are read-only
    batches = zip(*(tensor.split(SCORING_BATCH) for tensor in tensors), strict=True)
    return torch.cat([to_scores(model(*batch), facts) for batch in batches]).numpy()


def best_threshold(probability_N: np.ndarray, is_positive_N: np.ndarray, goal: Goal) -> float:
    """The threshold with the best score, found among all that tell the rows apart.

    It lies midway between two neighbouring probabilities. Of equally good ones it is the one nearest 0.5.

    Args:
        probability_N: of the positive class, float32.
        is_positive_N: whether it is the row's class; both must occur.
        goal: f1 of the positive class, balanced accuracy, or Matthews' correlation coefficient.
    """
    distinct_S, group_N = np.unique(probability_N.astype(np.float32), return_inverse=True)
    positive_S = np.bincount(group_N, weights=is_positive_N, minlength=len(distinct_S))
    rows_S = np.bincount(group_N, minlength=len(distinct_S)).astype(np.float64)
    # Position i answers "positive" from the i-th probability on.
    hits_S = np.cumsum(positive_S[::-1])[::-1]
    answered_S = np.cumsum(rows_S[::-1])[::-1]
    score_S = _scores(hits_S, answered_S, hits_S[0], answered_S[0], goal)
    limits_S = _between(np.r_[np.float32(0), distinct_S[:-1]], distinct_S)
    best = np.flatnonzero(score_S >= score_S.max() - 1e-12)
    return float(limits_S[best[np.abs(limits_S[best] - 0.5).argmin()]])


def _scores(hits_S: np.ndarray, answered_S: np.ndarray, num_positive: float, num_rows: float, goal: Goal) -> np.ndarray:
    num_negative = num_rows - num_positive
    match goal:
        case "f1":
            return 2 * hits_S / (answered_S + num_positive)
        case "balanced_accuracy":
            return (hits_S / num_positive + 1 - (answered_S - hits_S) / num_negative) / 2
        case "mcc":
            covariance_S = hits_S * num_rows - answered_S * num_positive
            spread_S = np.sqrt(answered_S * (num_rows - answered_S) * num_positive * num_negative)
            return np.divide(covariance_S, spread_S, out=np.zeros_like(spread_S), where=spread_S > 0)


def _between(below_S: np.ndarray, at_S: np.ndarray) -> np.ndarray:
    """Midway, in float32, which holds no number between two that follow each other: then the upper one."""
    middle_S = ((below_S.astype(np.float64) + at_S) / 2).astype(np.float32)
    return np.where(middle_S > below_S, middle_S, at_S)
