"""Racing over folds or seeds: a trial that is surely behind the best one on the same folds and seeds stops."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import permutation_test, rankdata, wilcoxon

from training.metric_names import Mode
from training.search.judges.verdicts import (
    WORST,
    GoOn,
    LevelWords,
    Stop,
    Stopped,
    Verdict,
    apart,
    loss_of,
    next_of,
    worse_than,
)

MIN_PAIRS = 2
MOST_PERMUTED = 13  # pairs, up to which scipy.stats.wilcoxon goes through all signs where differences are equal


def first_chance(p_value: float) -> int:
    """The fewest pairs by which Wilcoxon's signed-rank test can say it: the smallest p of n pairs is 1 / 2^n."""
    return next(num for num in range(MIN_PAIRS, 1100) if 0.5**num < p_value)


def why_never(p_value: float, num_parts: int) -> str | None:
    """A sentence where no trial can be stopped by so many folds and seeds, else None."""
    needed = first_chance(p_value) + 1  # after the last one there is nothing left to save
    if num_parts >= needed:
        return None
    return (
        f"scheduler=racing cannot stop a trial early with p_value={p_value:g} and {num_parts} trainings of each: the "
        f"smallest p of {num_parts - 1} pairs is {0.5 ** (num_parts - 1):g}; it takes folds times seeds of {needed}, "
        f"or p_value above {0.5 ** (num_parts - 1):g}"
    )


def behind(differences_K: np.ndarray) -> float:
    """The p-value of scipy.stats.wilcoxon(alternative="greater", zero_method="zsplit").

    Scores of few rows differ by the same again and again, and scipy then calls Python for each of 2^K sums of ranks: a
    second for 12 pairs, in which the driver hears nobody. The same sums are made here all at once, in 20 ms.
    """
    sizes = np.abs(differences_K)
    has_ties = len(np.unique(sizes)) < len(sizes) or not sizes.all()
    if not has_ties or len(sizes) > MOST_PERMUTED:
        return float(wilcoxon(differences_K, alternative="greater", zero_method="zsplit").pvalue)
    signed_K = np.sign(differences_K) * rankdata(sizes)
    found = permutation_test(
        (signed_K,), lambda ranks, axis: ranks.sum(axis=axis), permutation_type="samples", vectorized=True,
        alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    return float(found.pvalue)


class Racing:
    """Wilcoxon's signed-rank test against the best trial that has all its folds and seeds, as Optuna's WilcoxonPruner.

    The test is made again and again as parts come in, so that more are stopped wrongly than `p_value` says; a trial
    whose mean so far is as good as that of the best never is.
    Source: Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    """

    def __init__(self, p_value: float, grace: int, last_level: int, mode: Mode, words: LevelWords) -> None:
        self.levels = tuple(range(max(grace, first_chance(p_value)), last_level))
        self._p_value, self._last_level, self._mode, self._words = p_value, last_level, mode, words
        self._complete: dict[str, tuple[float, ...]] = {}  # losses of the trials that have all their parts
        self._best: str | None = None
        self._judged: dict[str, int] = {}  # the furthest level that was judged
        self._stopped: dict[str, Stopped] = {}

    def next_level(self, trial: str, level: int) -> int:
        """The next number of parts by which the test can say something, or the last level."""
        return next_of(self.levels, level, self._last_level)

    def meet(self, trial: str, params: Mapping[str, Any]) -> None:
        """Settings do not matter here."""

    def hear(self, trial: str, level: int, values: Sequence[float], parts: Sequence[float] = ()) -> Verdict:
        """Stop where the trial is surely behind. `parts` must hold as many scores as the level says."""
        if (stopped := self._stopped.get(trial)) is not None:
            return stopped.verdict if level >= stopped.level else GoOn()
        if level <= self._judged.get(trial, 0):
            return GoOn()
        self.recall(trial, level, values, parts)
        reason = self._reason(level, tuple(loss_of(part, self._mode) for part in parts)) if level in self.levels else ""
        if not reason:
            return GoOn()
        self._stopped[trial] = Stopped(level, Stop(reason))
        return self._stopped[trial].verdict

    def recall(
        self, trial: str, level: int, values: Sequence[float | None], parts: Sequence[float | None] = ()
    ) -> None:
        """Remember how far it came, and the parts of a trial that has all of them."""
        self._judged[trial] = max(level, self._judged.get(trial, 0))
        if level < self._last_level:
            return
        self._complete[trial] = tuple(loss_of(part, self._mode) for part in parts)
        if self._best is None or np.mean(self._complete[trial]) < np.mean(self._complete[self._best]):
            self._best = trial

    def leave(self, trial: str) -> None:
        """Its parts stay: they may be the best."""

    def forget(self, trial: str) -> None:
        """A failed trial is not the best."""
        self._stopped.pop(trial, None)
        if self._complete.pop(trial, None) is not None and self._best == trial:
            self._best = min(self._complete, key=lambda name: float(np.mean(self._complete[name])), default=None)

    def _reason(self, level: int, losses: tuple[float, ...]) -> str:
        """Why to stop, or nothing."""
        if WORST in losses:
            return f"training {losses.index(WORST) + 1} of {len(losses)} gave no score, so the trial cannot be the best"
        if self._best is None or len(losses) < MIN_PAIRS:
            return ""
        best = self._complete[self._best]
        num_pairs = min(len(losses), len(best))
        mean, bar = float(np.mean(losses)), float(np.mean(best))
        if mean <= bar:
            return ""
        p_value = behind(np.subtract(losses[:num_pairs], best[:num_pairs]))
        if p_value >= self._p_value:
            return ""
        own, of_best = apart(mean, bar, self._mode)
        return (
            f"{own} {self._words.at(level)} {worse_than(self._mode)} {of_best} of {self._best}, by {num_pairs} pairs "
            f"with p = {p_value:.3g}"
        )
