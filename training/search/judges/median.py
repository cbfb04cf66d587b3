"""The median stopping rule: a trial whose best is worse than the median of the others' running means stops."""

import bisect
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class Heard:
    """What is known of one trial."""

    best: float = WORST
    total: float = 0.0
    count: int = 0
    means: dict[int, float] = field(default_factory=dict)  # level -> running mean of the losses up to it
    last: int = 0


class MedianRule:
    """Ray Tune's rule, with the running means of each level in order.

    Tune's own class goes through every result of every trial for each verdict, and keeps them all.
    Source: Golovin et al., Google Vizier, KDD 2017.
    """

    def __init__(self, grace: int, min_trials: int, last_level: int, mode: Mode, words: LevelWords) -> None:
        self.levels = tuple(range(grace, last_level))
        self._min_trials, self._last_level, self._mode, self._words = min_trials, last_level, mode, words
        self._heard: dict[str, Heard] = {}
        self._rising: dict[int, array[float]] = {}  # level -> running means of all trials that came there
        self._stopped: dict[str, Stopped] = {}

    def next_level(self, trial: str, level: int) -> int:
        """Every level counts in the means, so every one is heard."""
        return next_of(self.levels, level, self._last_level)

    def meet(self, trial: str, params: Mapping[str, Any]) -> None:
        """Settings do not matter here."""

    def hear(self, trial: str, level: int, values: Sequence[float], parts: Sequence[float] = ()) -> Verdict:
        """Stop where the trial's best is worse than the median of the others' running means up to this level."""
        if (stopped := self._stopped.get(trial)) is not None:
            return stopped.verdict if level >= stopped.level else GoOn()
        if level not in self.levels or level <= self._trial(trial).last:
            return GoOn()
        others = self._rising.get(level, array("d"))
        median, num_others = _median(others) if others else 0.0, len(others)
        best = self._count(trial, level, values[0])
        if num_others < self._min_trials or best <= median or math.isclose(best, median):  # a mean is rounded
            return GoOn()
        own, bar = apart(best, median, self._mode)
        reason = (
            f"{own} {self._words.at(level)} {worse_than(self._mode)} {bar}, the median of {num_others} others' means"
        )
        self._stopped[trial] = Stopped(level, Stop(reason))
        return self._stopped[trial].verdict

    def recall(
        self, trial: str, level: int, values: Sequence[float | None], parts: Sequence[float | None] = ()
    ) -> None:
        """Count it in the means."""
        if level in self.levels and level > self._trial(trial).last:
            self._count(trial, level, values[0])

    def leave(self, trial: str) -> None:
        """Its means stay: they are what later ones are measured by."""

    def forget(self, trial: str) -> None:
        """A failed trial must not raise the bar for those that could still win."""
        self._stopped.pop(trial, None)
        for level, mean in self._heard.pop(trial, Heard()).means.items():
            rising = self._rising[level]
            del rising[bisect.bisect_left(rising, mean)]

    def _trial(self, trial: str) -> Heard:
        return self._heard.setdefault(trial, Heard())

    def _count(self, trial: str, level: int, value: float | None) -> float:
        """Into the means; a trial without any score is in none. Gives its best loss so far."""
        heard, loss = self._trial(trial), loss_of(value, self._mode)
        heard.last, heard.best = level, min(heard.best, loss)
        if loss < WORST:
            heard.total, heard.count = heard.total + loss, heard.count + 1
        if heard.count:
            heard.means[level] = heard.total / heard.count
            bisect.insort(self._rising.setdefault(level, array("d")), heard.means[level])
        return heard.best


def _median(rising: Sequence[float]) -> float:
    middle = len(rising) // 2
    return rising[middle] if len(rising) % 2 else (rising[middle - 1] + rising[middle]) / 2
