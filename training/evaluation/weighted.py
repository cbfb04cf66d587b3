"""Scores under many weightings of the same rows at once: what makes a bootstrap of 1,000 resamples cost seconds.

The scores are those of `training.metrics`; a test holds every one of them equal to it at unit weights.
Shape letters: R weightings, N rows, K classes, P positive rows, G groups.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

MAX_CLASSES_TOLD = 50  # more classes than this have no F1 of their own, as in training
SMALLEST_PROBABILITY = 1e-12  # a wrong answer given as certain would cost an infinite log loss


class Scorer(Protocol):
    """Scores of fixed answers under weights of their rows."""

    num_rows: int

    def __call__(self, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Scores by name, each (R,); NaN where one is not defined. Weights are how often a row stands, uint8."""


class ClassScorer:
    """Scores of a classification.

    Args:
        probabilities_NK: the model's answers; of two classes the second is the one that is looked for.
        predicted_N: class ids as they are given out, by the decision threshold where there is one.
        target_N: true class ids.
        labels: class names.
    """

    def __init__(
        self, probabilities_NK: np.ndarray, predicted_N: np.ndarray, target_N: np.ndarray, labels: Sequence[str]
    ) -> None:
        self.num_rows, num_classes = len(target_N), len(labels)
        self._confusion = _Confusion(predicted_N, target_N, labels)
        ranked = [1] if num_classes == 2 else range(num_classes)
        self._rankings = [_Ranking(probabilities_NK[:, k], target_N == k) for k in ranked]
        true_p_N = probabilities_NK[np.arange(self.num_rows), target_N].astype(np.float64)
        log_loss_N = -np.log(np.maximum(true_p_N, SMALLEST_PROBABILITY))
        self._losses_N2 = np.stack([log_loss_N, brier_terms(probabilities_NK, target_N)], axis=1)

    def __call__(self, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Scores by name (R,)."""
        scores = self._confusion(weights_RN)
        ranked_R2K = np.stack([ranking(weights_RN) for ranking in self._rankings], axis=-1)
        num_defined_R2 = np.isfinite(ranked_R2K).sum(axis=-1)
        ranked_R2 = ratio(np.nansum(ranked_R2K, axis=-1), num_defined_R2)
        losses_R2 = weights_RN @ self._losses_N2 / weights_RN.sum(axis=1, dtype=np.int64)[:, None]
        names = ("roc_auc", "average_precision", "log_loss", "brier")
        return scores | dict(zip(names, np.concatenate([ranked_R2, losses_R2], axis=1).T, strict=True))


class ValueScorer:
    """Scores of a regression."""

    def __init__(self, predicted_N: np.ndarray, target_N: np.ndarray) -> None:
        self.num_rows = len(target_N)
        error_N = predicted_N.astype(np.float64) - target_N
        # Around the mean, else the difference of two large sums would leave no digits.
        centred_N = target_N.astype(np.float64) - target_N.mean(dtype=np.float64)
        self._terms_N4 = np.stack([np.abs(error_N), error_N**2, centred_N, centred_N**2], axis=1)

    def __call__(self, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Scores by name (R,)."""
        total_R = weights_RN.sum(axis=1, dtype=np.int64)
        absolute_R, squared_R, centre_R, spread_R = (weights_RN @ self._terms_N4 / total_R[:, None]).T
        variance_R = spread_R - centre_R**2
        variance_R[variance_R < 1e-12 * spread_R] = 0  # all drawn values are one and the same
        return {"rmse": np.sqrt(squared_R), "mae": absolute_R, "r2": 1 - ratio(squared_R, variance_R)}


class _Confusion:
    """Scores of labels from how often each answer is given where each class is true."""

    def __init__(self, predicted_N: np.ndarray, target_N: np.ndarray, labels: Sequence[str]) -> None:
        self._labels = labels
        cells_N = target_N.astype(np.int64) * len(labels) + predicted_N
        self._order = np.argsort(cells_N, kind="stable")
        cells_G, self._starts = np.unique(cells_N[self._order], return_index=True)
        true_G, predicted_G = cells_G // len(labels), cells_G % len(labels)
        classes_K = np.arange(len(labels))
        self._is_true_GK = (true_G[:, None] == classes_K).astype(np.float64)
        self._is_predicted_GK = (predicted_G[:, None] == classes_K).astype(np.float64)

    def __call__(self, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        counts_RG = np.add.reduceat(weights_RN[:, self._order], self._starts, axis=1, dtype=np.int64).astype(np.float64)
        there_RK, answered_RK = counts_RG @ self._is_true_GK, counts_RG @ self._is_predicted_GK
        right_RK = counts_RG @ (self._is_true_GK * self._is_predicted_GK)
        return _label_scores(right_RK, answered_RK, there_RK, self._labels)


class _Ranking:
    """ROC AUC and average precision of one class against the rest, equal scores taken together.

    Only the positive rows need a sum each: pairs with another positive row cancel.
    """

    def __init__(self, score_N: np.ndarray, is_positive_N: np.ndarray) -> None:
        self._order = np.argsort(-score_N, kind="stable")
        sorted_N = score_N[self._order]
        ends = np.flatnonzero(np.append(np.diff(sorted_N) != 0, True))  # last row of each run of equal scores
        self._positive_P = np.flatnonzero(is_positive_N[self._order])
        run_P = np.searchsorted(ends, self._positive_P)
        self._last_P = ends[run_P]
        self._before_P = np.where(run_P > 0, ends[run_P - 1], -1)  # last row with a higher score
        self._last_positive_P = np.searchsorted(self._positive_P, self._last_P, side="right") - 1

    def __call__(self, weights_RN: np.ndarray) -> np.ndarray:
        """(R, 2): the area and the precision; NaN where all rows drawn are positive, or none."""
        sorted_RN = weights_RN[:, self._order]
        drawn_RN = np.cumsum(sorted_RN, axis=1, dtype=np.int32)
        total_R, weights_RP = drawn_RN[:, -1].astype(np.float64), sorted_RN[:, self._positive_P].astype(np.float64)
        hits_RP = np.cumsum(weights_RP, axis=1)
        positive_R = hits_RP[:, -1] if hits_RP.shape[1] else np.zeros(len(weights_RN))
        reached_RP = drawn_RN[:, self._last_P]
        higher_RP = np.where(self._before_P >= 0, drawn_RN[:, self._before_P], 0)
        beaten_R = (weights_RP * (total_R[:, None] - (reached_RP + higher_RP) / 2)).sum(axis=1) - positive_R**2 / 2
        precision_RP = ratio(hits_RP[:, self._last_positive_P], reached_RP.astype(np.float64))
        found_R = (weights_RP * np.nan_to_num(precision_RP)).sum(axis=1)
        is_mixed_R = (positive_R > 0) & (positive_R < total_R)
        scores_R2 = np.stack([ratio(beaten_R, positive_R * (total_R - positive_R)), ratio(found_R, positive_R)], axis=1)
        return np.where(is_mixed_R[:, None], scores_R2, np.nan)


def _label_scores(
    right_RK: np.ndarray, answered_RK: np.ndarray, there_RK: np.ndarray, labels: Sequence[str]
) -> dict[str, np.ndarray]:
    """As `training.metrics.class_scores` defines them."""
    recall_RK, f1_RK = _share(right_RK, there_RK), _share(2 * right_RK, answered_RK + there_RK)
    scores = {
        "accuracy": right_RK.sum(axis=1) / there_RK.sum(axis=1),
        "balanced_accuracy": recall_RK.sum(axis=1) / (there_RK > 0).sum(axis=1),
        "f1_macro": f1_RK.sum(axis=1) / (answered_RK + there_RK > 0).sum(axis=1),
        "mcc": _matthews(right_RK, answered_RK, there_RK),
    }
    if len(labels) == 2:
        precision_R = _share(right_RK[:, 1], answered_RK[:, 1])
        scores |= {"f1": f1_RK[:, 1], "precision": precision_R, "recall": recall_RK[:, 1]}
    if len(labels) <= MAX_CLASSES_TOLD:
        scores |= {f"f1/{label}": f1_RK[:, k] for k, label in enumerate(labels)}
    return scores


def _matthews(right_RK: np.ndarray, answered_RK: np.ndarray, there_RK: np.ndarray) -> np.ndarray:
    """Correlation of truth and answer for K classes; 0 where either is constant.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Comput. Biol.
    Chem. 28 (2004).
    """
    total_R = there_RK.sum(axis=1)
    together_R = right_RK.sum(axis=1) * total_R - (there_RK * answered_RK).sum(axis=1)
    there_R, answered_R = (total_R**2 - (side_RK**2).sum(axis=1) for side_RK in (there_RK, answered_RK))
    return _share(together_R, np.sqrt(there_R * answered_R))


def brier_terms(probabilities_NK: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    """Squared distance from the truth (N,): of two classes of the second's probability, else summed over classes.

    Source: Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78 (1950).
    """
    probabilities_NK = probabilities_NK.astype(np.float64)
    if probabilities_NK.shape[1] == 2:
        difference_N: np.ndarray = probabilities_NK[:, 1] - (target_N == 1)
        return difference_N**2
    true_p_N = probabilities_NK[np.arange(len(target_N)), target_N]
    return (probabilities_NK**2).sum(axis=1) - 2 * true_p_N + 1


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """0 where the whole is."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)
