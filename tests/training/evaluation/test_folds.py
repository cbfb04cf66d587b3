"""The interval over folds: by hand, and wide enough where the plain one is not."""

import numpy as np
import pytest
from scipy import stats

from training.evaluation.folds import fold_spread


def test_it_is_the_corrected_resampled_t_interval() -> None:
    values = np.array([0.80, 0.84, 0.90, 0.78, 0.88])
    found = fold_spread(values, 0.25)
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 0.25) * values.var(ddof=1))
    assert (found.mean, found.num_folds) == (pytest.approx(0.84), 5)
    assert (found.low, found.high) == (pytest.approx(0.84 - half), pytest.approx(0.84 + half))
    assert fold_spread(values, 0.25, (0.0, 0.9)).high == 0.9, "cut to what the score can be"
    assert fold_spread(values[:1], 0.25).low is None


def sample(num_rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one population: four numbers, and a class that their noisy sum decides."""
    x = rng.normal(size=(num_rows, 4))
    return x, x.sum(axis=1) + rng.normal(scale=2.0, size=num_rows) > 0


def accuracy(train: tuple[np.ndarray, np.ndarray], judge: tuple[np.ndarray, np.ndarray]) -> float:
    """Of the nearest training row's class: a learner that other training rows change a lot."""
    distances = (judge[0] ** 2).sum(1)[:, None] + (train[0] ** 2).sum(1) - 2 * judge[0] @ train[0].T
    return float((train[1][distances.argmin(axis=1)] == judge[1]).mean())


def coverage(num_samples: int, num_rows: int = 100, num_folds: int = 5) -> tuple[float, float]:
    """How often the true score of training on so many rows lies within the interval, and within a plain t interval."""
    rng = np.random.default_rng(0)
    num_train = num_rows - num_rows // num_folds
    truth = np.mean([accuracy(sample(num_train, rng), sample(1000, rng)) for _ in range(300)])
    corrected = plain = 0
    for _ in range(num_samples):
        x, y = sample(num_rows, rng)
        held = [np.arange(num_rows) % num_folds == fold for fold in range(num_folds)]
        scores = np.array([accuracy((x[~each], y[~each]), (x[each], y[each])) for each in held])
        found = fold_spread(scores, 1 / (num_folds - 1))
        assert found.low is not None
        assert found.high is not None
        corrected += found.low <= truth <= found.high
        plain += abs(scores.mean() - truth) <= stats.t.ppf(0.975, num_folds - 1) * scores.std(ddof=1) / num_folds**0.5
    return corrected / num_samples, plain / num_samples


def test_it_holds_the_true_score_as_often_as_it_says_and_a_plain_one_does_not() -> None:
    corrected, plain = coverage(1000)
    assert 0.93 <= corrected <= 0.99
    assert plain < 0.91
