"""Successive halving: trials are compared at rungs, and the weaker ones stop. Ray Tune's rule, kept small and exact."""

import bisect
import math
from array import array
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

from ray.tune.schedulers.async_hyperband import AsyncHyperBandScheduler, _Bracket

from training.metric_names import Mode
from training.search.judges.verdicts import (
    GoOn,
    LevelWords,
    Stop,
    Stopped,
    Verdict,
    apart,
    loss_of,
    next_of,
    number_of,
    worse_than,
)

GOLDEN = (math.sqrt(5) - 1) / 2


class Bracket(Protocol):
    """A row of rungs."""

    levels: tuple[int, ...]

    def judge(self, trial: str, level: int, values: Sequence[float | None]) -> str | None:
        """Count the trial at the rung it has come to, once; why it is to stop, or None."""

    def forget(self, trial: str) -> None:
        """Its values no longer count."""


class Halving:
    """One bracket or several. A trial's bracket follows from its number, so a later driver puts it there again."""

    def __init__(self, brackets: Sequence[Bracket], shares: Sequence[float], last_level: int) -> None:
        """
        Args:
            brackets: the least patient first.
            shares: of the trials that each one gets, 1 in all.
            last_level: at which a trial ends.
        """
        self.levels = tuple(sorted({level for bracket in brackets for level in bracket.levels if level < last_level}))
        self._brackets, self._bounds, self._last_level = brackets, _rising_sums(shares), last_level
        self._stopped: dict[str, Stopped] = {}

    def next_level(self, trial: str, level: int) -> int:
        """The trial's next rung, or the last level."""
        return min(next_of(self._bracket(trial).levels, level, self._last_level), self._last_level)

    def meet(self, trial: str, params: Mapping[str, Any]) -> None:
        """Settings do not matter here."""

    def hear(self, trial: str, level: int, values: Sequence[float], parts: Sequence[float] = ()) -> Verdict:
        """Stop where the trial is not among the better ones that have been at this rung."""
        stopped = self._stopped.get(trial)
        if stopped is not None and level >= stopped.level:
            return stopped.verdict
        if stopped is not None or level >= self._last_level:
            return GoOn()
        reason = self._bracket(trial).judge(trial, level, values)
        if reason is None:
            return GoOn()
        self._stopped[trial] = Stopped(level, Stop(reason))
        return self._stopped[trial].verdict

    def recall(
        self, trial: str, level: int, values: Sequence[float | None], parts: Sequence[float | None] = ()
    ) -> None:
        """Count the trial at this rung."""
        if level < self._last_level:
            self._bracket(trial).judge(trial, level, values)

    def leave(self, trial: str) -> None:
        """Its values stay: they are what later ones are measured by."""

    def forget(self, trial: str) -> None:
        """A failed trial must not raise the bar for those that could still win."""
        self._stopped.pop(trial, None)
        self._bracket(trial).forget(trial)

    def _bracket(self, trial: str) -> Bracket:
        # Multiples of the golden ratio fall evenly, so that any stretch of trials is shared out by the shares.
        place = (number_of(trial) * GOLDEN) % 1.0
        return self._brackets[min(bisect.bisect_right(self._bounds, place), len(self._brackets) - 1)]


class ScoreBracket(_Bracket):
    """Tune's bracket for one objective, with rungs that find their cut-off without sorting all trials again.

    Tune's own takes 1 ms a verdict at 10,000 trials, and the driver hears every trial.
    """

    def __init__(
        self, grace: int, last_level: int, reduction_factor: float, number: int, mode: Mode, words: LevelWords
    ) -> None:
        super().__init__(grace, last_level, reduction_factor, number, stop_last_trials=False)
        self._rungs = [(milestone, Rung()) for milestone, _ in self._rungs]
        self.levels = tuple(math.ceil(milestone) for milestone, _ in reversed(self._rungs))
        self._mode, self._words = mode, words

    def cutoff(self, recorded: Any) -> float | None:
        """The reward of a rung below which a trial stops: Tune's percentile."""
        return recorded.percentile(1 - 1 / self.rf) if recorded else None

    def judge(self, trial: str, level: int, values: Sequence[float | None]) -> str | None:
        """Tune decides; the numbers it decided by make the reason."""
        loss = loss_of(values[0], self._mode)
        rung = next((rung for milestone, rung in self._rungs if level >= milestone), None)
        if rung is None:
            return None
        cutoff, num_others = self.cutoff(rung), len(rung)
        stand_in: Any = SimpleNamespace(trial_id=trial)  # all that a bracket keeps of a trial
        if self.on_result(stand_in, level, -loss) != AsyncHyperBandScheduler.STOP or cutoff is None:
            return None
        own, bar = apart(loss, -cutoff, self._mode)
        others = f"{num_others} trial{'s' if num_others > 1 else ''}"
        return f"{own} {self._words.at(level)} {worse_than(self._mode)} {bar}, the cut-off of {others}"

    def forget(self, trial: str) -> None:
        """Take it off every rung."""
        for _, rung in self._rungs:
            rung.pop(trial, None)


class Rung(dict[str, float]):
    """Trial -> reward, with the rewards in order beside it."""

    def __init__(self) -> None:
        super().__init__()
        self._rising = array("d")

    def __setitem__(self, trial: str, reward: float) -> None:
        self.pop(trial, None)
        super().__setitem__(trial, reward)
        bisect.insort(self._rising, reward)

    def pop(self, trial: str, default: Any = None) -> Any:
        """Take a trial off."""
        if trial not in self:
            return default
        reward = super().pop(trial)
        del self._rising[bisect.bisect_left(self._rising, reward)]
        return reward

    def percentile(self, share: float) -> float:
        """The same as numpy.percentile, which interpolates: bit for bit, as equal rewards must compare as equal."""
        at = (len(self._rising) - 1) * (share * 100 / 100)
        below = math.floor(at)
        low, high = self._rising[below], self._rising[min(below + 1, len(self._rising) - 1)]
        part = at - below
        return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


def shares_of(brackets: Sequence[Bracket]) -> list[float]:
    """Tune's shares: e times as many trials for each rung more."""
    most = max(len(bracket.levels) for bracket in brackets)
    weights = [math.exp(len(bracket.levels) - most) for bracket in brackets]
    return [weight / sum(weights) for weight in weights]


def _rising_sums(shares: Sequence[float]) -> list[float]:
    return [sum(shares[: i + 1]) for i in range(len(shares))]
