"""From probabilities to a class: the one rule for serving, golden rows and held-out scores.

Shape letters: N rows, K classes.
"""

import numpy as np


def answers(probability_NK: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Class ids (N,): the most probable class, or of two the second where its probability reaches the threshold."""
    if threshold is None:
        return probability_NK.argmax(axis=1)
    # Compared in float32, as the probabilities are: 0.3 is above none of those that were rounded to it.
    return (probability_NK[:, 1] >= np.float32(threshold)).astype(np.int64)


def margins(probability_NK: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """How far probabilities may move, each by this much, before another class is answered, (N,)."""
    if threshold is not None:
        return np.abs(probability_NK[:, 1] - np.float32(threshold))
    top_two_NK = np.sort(probability_NK, axis=1)[:, -2:]
    return (top_two_NK[:, -1] - top_two_NK[:, 0]) / 2
