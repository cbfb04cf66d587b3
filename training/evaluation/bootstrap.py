"""Intervals by resampling rows. Shape letters: R resamples, N rows."""

from collections.abc import Iterator

import numpy as np

from training.evaluation.weighted import Scorer
from training.package.shapes import StoredModel

LEVEL = 0.95
METHOD = "percentile bootstrap"
WEIGHTS_AT_A_TIME = 1 << 22  # the weights of all resamples of a large table would not fit into memory
MIN_DEFINED = 0.5  # share of resamples in which a score must exist for an interval


class Estimate(StoredModel):
    """A score, and where it may lie. Null where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None  # standard deviation over the resamples

    def holds(self, other: float) -> bool | None:
        """Whether a value lies within the interval; None where there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low <= other <= self.high


def estimates(scorer: Scorer, num_resamples: int, seed: int = 0, level: float = LEVEL) -> dict[str, Estimate]:
    """Every score with its interval.

    The percentile interval: rows are drawn with replacement, as many as there are, and the scores' own quantiles
    over the draws are the bounds. Efron, Bootstrap methods: another look at the jackknife, Ann. Statist. 7 (1979).

    Args:
        scorer: scores under weights of the rows.
        num_resamples: draws; 0 for no intervals.
        seed: of the draws.
        level: share of the draws within the interval.
    """
    exact = {name: float(value[0]) for name, value in scorer(np.ones((1, scorer.num_rows), np.uint8)).items()}
    if num_resamples == 0:
        return {name: Estimate(value=_finite(value)) for name, value in exact.items()}
    parts = [scorer(weights_RN) for weights_RN in resampled(scorer.num_rows, num_resamples, seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in exact}
    return {name: _estimate(value, drawn[name], level) for name, value in exact.items()}


def resampled(num_rows: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row was drawn (r, N), in parts that fit into memory; a pure function of its arguments."""
    rng = np.random.default_rng(seed)
    at_a_time = max(1, WEIGHTS_AT_A_TIME // num_rows)
    for start in range(0, num_resamples, at_a_time):
        num = min(at_a_time, num_resamples - start)
        rows = rng.integers(0, num_rows, size=(num, num_rows), dtype=np.int32)
        weights_RN = np.empty((num, num_rows), np.uint8)  # a row drawn more than 255 times is not met
        for i in range(num):
            weights_RN[i] = np.bincount(rows[i], minlength=num_rows)
        yield weights_RN


def _estimate(value: float, drawn_R: np.ndarray, level: float) -> Estimate:
    known = drawn_R[np.isfinite(drawn_R)]
    if not np.isfinite(value) or len(known) < MIN_DEFINED * len(drawn_R):
        return Estimate(value=_finite(value))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=value, low=float(low), high=float(high), deviation=float(known.std()))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
