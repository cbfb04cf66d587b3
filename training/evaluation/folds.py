"""What the folds of a cross-validation say together. Shape letters: K folds."""

import numpy as np
from scipy.special import stdtrit

from training.evaluation.curve import LEVEL, Spread

METHOD = "corrected resampled t interval over the folds (Nadeau and Bengio 2003)"


class FoldSpread(Spread):
    """The mean over folds, where it may lie, and how many folds have the score."""

    num_folds: int


def fold_spread(
    values_K: np.ndarray, held_over_trained: float, within: tuple[float, float] = (-np.inf, np.inf)
) -> FoldSpread:
    """Mean and 95 % interval of a score over folds, cut to the values there can be.

    Training sets of folds share most of their rows, so that the folds' scores lean together and their plain variance
    is too small. The variance of the mean is taken as (1/K + held out / trained on) times that of the scores, with
    Student's t of K - 1 degrees of freedom. Source: Nadeau and Bengio, Inference for the Generalization Error,
    Machine Learning 52 (2003); for folds as Bouckaert and Frank, PAKDD 2004.

    Args:
        values_K: the score of each fold, the mean over its seeds.
        held_over_trained: rows held out over rows trained on, the mean over the folds.
        within: values that the score can take.
    """
    mean, num_folds = float(values_K.mean()), len(values_K)
    if num_folds < 2:
        return FoldSpread(mean=mean, num_folds=num_folds)
    deviation = float(values_K.std(ddof=1))
    half = float(stdtrit(num_folds - 1, (1 + LEVEL) / 2)) * deviation * np.sqrt(1 / num_folds + held_over_trained)
    low, high = max(float(mean - half), within[0]), min(float(mean + half), within[1])
    return FoldSpread(mean=mean, low=low, high=high, deviation=deviation, num_folds=num_folds)
