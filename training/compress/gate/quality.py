"""What a form loses against the model as trained, on the same rows: overall with an interval, and slice by slice.

Shape letters: N rows, R resamples.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy.stats import binomtest, permutation_test, t

from training.compress.gate.goodness import MOST, ROUNDING, drop_of, goodness, num_other_answers
from training.compress.held_out import HeldOut
from training.errors import DataError
from training.evaluation.bootstrap import resampled
from training.evaluation.slices import Part, parts_of
from training.evaluation.weighted import ClassScorer, ValueScorer
from training.package.decision import answers
from training.package.manifest import Quality, SliceDrop

LEVEL = 0.05  # of a test: how often nothing is taken for a loss, over all slices together
NUM_RESAMPLES = 1000
MAX_CELLS = 64_000_000  # rows times resamples; fewer resamples of a large table, whose interval is narrow anyway
FEWEST_RESAMPLES = 100
SLOW_RESAMPLES = 200  # of scores that must be computed anew for each
MIN_ROWS = 5  # five rows that all get worse are the fewest that chance does not explain
MOST_PERMUTED = 200  # rows; the mean of more is normal enough for Student's t
NUM_FLIPS = 4999
CLASS = "(class)"  # stands for the target where a slice names its column

Weighted = Callable[[np.ndarray], np.ndarray]  # weights (R, N) -> the metric (R,)


class Judge:
    """Holds forms against one baseline."""

    def __init__(
        self, held_out: HeldOut, baseline: np.ndarray, metric: str, mode: Literal["max", "min"], slice_drop: float,
        seed: int = 0,
    ) -> None:  # fmt: skip
        """`metric` is a plain name; `baseline` are the answers of the model as trained to all rows."""
        self._held_out, self._baseline, self._metric, self._mode = held_out, baseline, metric, mode
        self._slice_drop, self._seed = slice_drop, seed
        before = held_out.scores_of(baseline)
        if metric not in before:
            raise DataError(
                f"the score {metric} does not exist on the {len(held_out):,} held-out rows, as where one class has all",
                f"other rows, or compress.metric: one of {', '.join(before)}",
            )
        self._before = before[metric]
        self._goodness_N = goodness(held_out, baseline)
        self._parts = slices_of(held_out)
        self._drawn: np.ndarray | None = None  # the baseline's metric in each resample

    def quality(self, scores: np.ndarray) -> Quality:
        """What a form loses.

        Args:
            scores: its answers to all rows, finite and in the baseline's shape.
        """
        drop = drop_of(self._before, self._held_out.scores_of(scores).get(self._metric, math.nan), self._mode)
        low, high = self._interval(scores)
        return Quality(
            metric=f"{self._held_out.part}/{self._metric}", drop=drop, low=low, high=high, num_rows=len(self._held_out),
            num_other_answers=num_other_answers(self._held_out, self._baseline, scores), slices=self._slices(scores),
        )  # fmt: skip

    def _interval(self, scores: np.ndarray) -> tuple[float, float]:
        """Where the drop lies in 95 % of resamples, each of which draws the same rows for both."""
        num_rows = len(self._held_out)
        most = NUM_RESAMPLES if self._held_out.task in ("classification", "regression") else SLOW_RESAMPLES
        num_resamples = min(most, max(FEWEST_RESAMPLES, MAX_CELLS // num_rows))
        weights = list(resampled(num_rows, num_resamples, self._seed))
        if self._drawn is None:
            self._drawn = self._metric_of(self._baseline, weights)
        drawn_R = self._metric_of(scores, weights)
        drops_R = np.array(
            [drop_of(before, after, self._mode) for before, after in zip(self._drawn, drawn_R, strict=True)]
        )
        known_R = drops_R[~np.isnan(drops_R)]  # a score may not exist in some draw
        low, high = np.quantile(known_R, [LEVEL / 2, 1 - LEVEL / 2]) if len(known_R) else (-MOST, MOST)
        return float(low), float(high)

    def _metric_of(self, scores: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
        weighted = _weighted(self._held_out, scores, self._metric)
        return np.concatenate([weighted(weights_RN) for weights_RN in weights])

    def _slices(self, scores: np.ndarray) -> tuple[SliceDrop, ...]:
        after_N = goodness(self._held_out, scores)
        found = [self._slice(part, after_N) for part in self._parts]
        after = [after_N[part.rows] for part in self._parts]
        least = [_least_p(self._goodness_N[part.rows], now) for part, now in zip(self._parts, after, strict=True)]
        lost = _surely([found_slice.p_value for found_slice in found], least)
        return tuple(
            each.model_copy(update={"sacrificed": bool(surely and not each.drop <= self._slice_drop + ROUNDING)})
            for each, surely in zip(found, lost, strict=True)
        )

    def _slice(self, part: Part, after_N: np.ndarray) -> SliceDrop:
        before, after = self._goodness_N[part.rows], after_N[part.rows]
        is_error = self._held_out.task == "regression"
        mean_before, mean_after = float(before.mean()), float(after.mean())
        drop = drop_of(-mean_before, -mean_after, "min") if is_error else mean_before - mean_after
        sign = -1 if is_error else 1
        return SliceDrop(
            column=part.column, value=part.value, num_rows=len(part.rows), baseline=sign * mean_before,
            score=sign * mean_after, drop=drop, p_value=_p_value(before, after), sacrificed=False,
        )  # fmt: skip


def slices_of(held_out: HeldOut) -> list[Part]:
    """Rows of each class, and of each value of the columns that divide them; slices of too few rows are left out."""
    found: list[Part] = []
    if held_out.task == "classification":
        found += [Part(CLASS, label, np.flatnonzero(held_out.target == k)) for k, label in enumerate(held_out.labels)]
    for name, column in held_out.columns.items():
        found += parts_of(name, column)
    return [part for part in found if len(part.rows) >= MIN_ROWS]


def _p_value(before: np.ndarray, after: np.ndarray) -> float:
    """Of the hypothesis that the mean was not lost from, one-sided; small where the loss is no chance.

    Right and wrong answers: McNemar's exact test (Psychometrika 12, 1947) on the rows that changed. Other goodness: the
    mean difference under random signs (Fisher, The Design of Experiments, 1935); of many rows Student's t.
    """
    lost_M = (before - after)[before != after]
    if not len(lost_M):
        return 1.0
    if set(np.unique(before)) | set(np.unique(after)) <= {0.0, 1.0}:
        return float(binomtest(int((lost_M > 0).sum()), len(lost_M), 0.5, alternative="greater").pvalue)
    deviation = float(lost_M.std(ddof=1)) if len(lost_M) > 1 else 0.0
    if len(lost_M) <= MOST_PERMUTED or deviation == 0:
        found = permutation_test(
            (lost_M[:MOST_PERMUTED],), np.mean, permutation_type="samples", vectorized=True, n_resamples=NUM_FLIPS,
            alternative="greater", rng=np.random.default_rng(0),
        )  # fmt: skip
        return float(found.pvalue)
    return float(t.sf(lost_M.mean() / (deviation / math.sqrt(len(lost_M))), len(lost_M) - 1))


def _least_p(before: np.ndarray, after: np.ndarray) -> float:
    """The smallest p-value that a slice could have had: were all rows that changed lost."""
    return max(0.5 ** int((before != after).sum()), 1 / (NUM_FLIPS + 1))


def _surely(p_values: Sequence[float], least: Sequence[float]) -> list[bool]:
    """Which of several tests hold together.

    Tests that could never have held do not count (Tarone, Biometrics 46, 1990): most slices hardly change. The others
    by Holm's step-down procedure (Scand. J. Statist. 6, 1979).
    """
    num_counted = next(
        (k for k in range(1, len(least) + 1) if sum(p_value <= LEVEL / k for p_value in least) <= k), len(least)
    )  # fmt: skip
    able = [i for i, p_value in enumerate(least) if p_value <= LEVEL / max(num_counted, 1)]
    held = [False] * len(p_values)
    for rank, index in enumerate(sorted(able, key=lambda i: p_values[i])):
        if p_values[index] > LEVEL / (len(able) - rank):
            break
        held[index] = True
    return held


def _weighted(held_out: HeldOut, scores: np.ndarray, metric: str) -> Weighted:
    """The metric under weights of the rows."""
    if held_out.task == "classification":
        of_classes = ClassScorer(scores, answers(scores, held_out.threshold), held_out.target, held_out.labels)
        return lambda weights_RN: of_classes(weights_RN)[metric]
    if held_out.task == "regression" and metric in ("rmse", "mae", "r2"):
        of_values = ValueScorer(scores, held_out.target)
        return lambda weights_RN: of_values(weights_RN)[metric]
    return lambda weights_RN: np.array([_resampled_score(held_out, scores, metric, row_N) for row_N in weights_RN])


def _resampled_score(held_out: HeldOut, scores: np.ndarray, metric: str, weights_N: np.ndarray) -> float:
    rows = np.repeat(np.arange(len(weights_N)), weights_N)
    drawn = HeldOut(
        held_out.task, held_out.labels, {}, held_out.target[rows], held_out.threshold, held_out.quantile
    )  # fmt: skip
    return drawn.scores_of(scores[rows]).get(metric, math.nan)
