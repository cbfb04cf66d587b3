"""Scores by the number of training rows: which sizes to train on, which rows, and what the repeats say.

Shape letters: N rows, S sizes.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from training.metric_names import METRIC_MODES, range_of
from training.package.manifest import Task
from training.package.shapes import StoredModel

LEVEL = 0.95
METHOD = "t interval over the repeats"
MIN_ROWS = 20  # of the smallest subset
ROWS_PER_CLASS = 2
NUM_STRATA = 10  # of a regression's target


class Measured(StoredModel):
    """One training on a subset."""

    num_rows: int
    repeat: int  # decides seed and subset; subsets of one repeat are nested
    train: dict[str, float]  # scores on the subset itself
    validation: dict[str, float]
    epochs: int
    best_epoch: int
    num_steps: int  # of the optimizer, to the best epoch
    seconds: float


class Spread(StoredModel):
    """The mean of repeats and where it may lie; bounds are null for one repeat."""

    mean: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None


class Point(StoredModel):
    """All repeats of one size."""

    num_rows: int
    num_repeats: int
    train: Spread
    validation: Spread
    gap: Spread  # how much worse validation is than training, above 0 where it is
    num_steps: float  # mean
    seconds: float  # mean


def subset_sizes(num_rows: int, num_points: int, num_classes: int = 0) -> tuple[int, ...]:
    """Rising numbers of rows up to all of them, each a constant times the one before, as far as possible doubled."""
    smallest = max(MIN_ROWS, ROWS_PER_CLASS * num_classes, num_rows // 2 ** (num_points - 1))
    if num_points == 1 or smallest >= num_rows:
        return (num_rows,)
    sizes = np.geomspace(smallest, num_rows, num_points).round().astype(int)
    return tuple(int(size) for size in np.unique(sizes))


def strata_of(target_N: np.ndarray, task: Task) -> np.ndarray:
    """The class of each row (N,), or the tenth of the values that its target lies in."""
    if task == "classification":
        return target_N
    if task != "regression":
        return np.zeros(len(target_N), dtype=np.int64)
    edges = np.quantile(target_N, np.arange(1, NUM_STRATA) / NUM_STRATA)
    return np.searchsorted(edges, target_N, side="right")


def nested_order(strata_N: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """Row numbers (N,) of which every first n are a stratified sample, and so are nested.

    Each stratum's rows are shuffled and spread evenly; the first row of each comes before all others, so that no
    class is missing from a subset of at least as many rows as there are classes.
    """
    rng = np.random.default_rng(list(seed))
    place_N = np.empty(len(strata_N))
    for stratum in np.unique(strata_N):
        rows = rng.permutation(np.flatnonzero(strata_N == stratum))
        place_N[rows] = (np.arange(len(rows)) + rng.random(len(rows))) / len(rows)
        place_N[rows[0]] -= 1
    return np.argsort(place_N, kind="stable")


def points_of(measured: Sequence[Measured], metric: str) -> tuple[Point, ...]:
    """The repeats of each size together, by rising size. Repeats in which the score does not exist are left out."""
    usable = [each for each in measured if metric in each.train and metric in each.validation]
    sign = -1.0 if METRIC_MODES[metric] == "min" else 1.0
    found: list[Point] = []
    for size in sorted({each.num_rows for each in usable}):
        here = [each for each in usable if each.num_rows == size]
        train = np.array([each.train[metric] for each in here])
        validation = np.array([each.validation[metric] for each in here])
        found.append(
            Point(
                num_rows=size,
                num_repeats=len(here),
                train=spread(train, range_of(metric)),
                validation=spread(validation, range_of(metric)),
                gap=spread(sign * (train - validation)),
                num_steps=float(np.mean([each.num_steps for each in here])),
                seconds=float(np.mean([each.seconds for each in here])),
            )
        )
    return tuple(found)


def spread(values: np.ndarray, within: tuple[float, float] = (-np.inf, np.inf)) -> Spread:
    """Mean and 95 % t interval, cut to the values there can be.

    Source: Student, The probable error of a mean, Biometrika 6 (1908).
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Spread(mean=mean)
    deviation = float(values.std(ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * deviation / np.sqrt(len(values))
    low, high = max(float(mean - half), within[0]), min(float(mean + half), within[1])
    return Spread(mean=mean, low=low, high=high, deviation=deviation)
