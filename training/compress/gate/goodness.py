"""How good each single answer is, and how bad a loss. Shape letters: N rows, K classes or labels."""

import numpy as np

from training.compress.held_out import HeldOut
from training.package.answers import given
from training.package.decision import answers

ROUNDING = 1e-9  # of a loss: one of exactly what is allowed is allowed
MOST = 1e6  # a loss beyond any bound; JSON has no infinity


def goodness(held_out: HeldOut, scores: np.ndarray) -> np.ndarray:
    """Of every row (N,), higher is better: 1 for a right class, the share of right labels, minus the absolute error of
    a number, or how likely a text was held."""
    match held_out.task:
        case "classification":
            return np.asarray(answers(scores, held_out.threshold) == held_out.target, dtype=np.float64)
        case "multilabel":
            right_NK = given(scores, held_out.threshold) == (held_out.target > 0.5)
            return np.asarray(right_NK.mean(axis=1), dtype=np.float64)
        case "regression":
            return -np.abs(scores.astype(np.float64) - held_out.target)
    return scores.astype(np.float64)


def num_other_answers(held_out: HeldOut, before: np.ndarray, after: np.ndarray) -> int:
    """Rows that are answered with another class, or other labels. 0 where numbers are answered."""
    match held_out.task:
        case "classification":
            return int((answers(before, held_out.threshold) != answers(after, held_out.threshold)).sum())
        case "multilabel":
            differs_NK = given(before, held_out.threshold) != given(after, held_out.threshold)
            return int(differs_NK.any(axis=1).sum())
    return 0


def drop_of(before: float, after: float, mode: str) -> float:
    """The loss: in the score's own unit where higher is better, as a share of the baseline's error else."""
    if mode == "max":
        return before - after
    worse = after - before
    if not before:
        return MOST if worse > 0 else worse
    return min(worse / abs(before), MOST)
