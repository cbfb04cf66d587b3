"""What a judge may answer, what it must be able to do, and how it speaks of numbers. No Ray here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from training.metric_names import Mode

WORST = 1e300  # the loss of a trial without a score: finite, so that a cut-off between it and a score is a number


@dataclass(frozen=True)
class GoOn:
    """Train to the next level."""


@dataclass(frozen=True)
class Stop:
    """End here, with the numbers that say why."""

    reason: str


@dataclass(frozen=True)
class Clone:
    """Take the weights of `source`, go on with `params`: all its settings, some of them changed a little."""

    source: str
    params: dict[str, Any]
    reason: str


Verdict = GoOn | Stop | Clone


class Judge(Protocol):
    """Decides which trials go on. A level is a number of epochs, or of folds and seeds that are done."""

    levels: tuple[int, ...]  # rungs at which trials may be judged, rising, below the last level

    def next_level(self, trial: str, level: int) -> int:
        """The next level after this one at which the trial is to be judged, or the last level."""

    def meet(self, trial: str, params: Mapping[str, Any]) -> None:
        """A trial begins, or goes on after a pause, with these settings."""

    def hear(self, trial: str, level: int, values: Sequence[float], parts: Sequence[float] = ()) -> Verdict:
        """Judge. What was heard before gets the same verdict and counts once: an actor that goes on repeats levels.

        Told at the last level, too, where nobody is stopped.

        Args:
            trial: its name.
            level: where it stands.
            values: of the objectives, in their order, the best so far; no number counts as the worst.
            parts: score of each training of the trial so far, in the order that all trials keep.
        """

    def recall(
        self, trial: str, level: int, values: Sequence[float | None], parts: Sequence[float | None] = ()
    ) -> None:
        """What an earlier driver heard: remembered like the rest, but judged then, so that the trial passed here."""

    def leave(self, trial: str) -> None:
        """A trial ended. What it was heard to do still counts; nobody takes its weights."""

    def forget(self, trial: str) -> None:
        """A trial failed: its values no longer count."""


@dataclass(frozen=True)
class Stopped:
    """A verdict that was given, and from which level on it holds."""

    level: int
    verdict: Stop


def number_of(trial: str) -> int:
    """7 for t0007: what draws of a judge start from, so that they come again in a later driver."""
    return int(trial.removeprefix("t"))


def loss_of(value: float | None, mode: Mode) -> float:
    """A value made so that less is better, and the worst that there is where it is no number."""
    if value is None or not math.isfinite(value):
        return WORST
    return -value if mode == "max" else value


def next_of(levels: Sequence[int], level: int, last_level: int) -> int:
    """The first of the rising levels above this one, or the last level."""
    return next((each for each in levels if each > level), last_level)


def apart(loss: float, other: float, mode: Mode) -> tuple[str, str]:
    """Two losses as the values they stand for, with as many digits as it takes to tell them apart."""
    for digits in range(4, 18):
        texts = said(loss, mode, digits), said(other, mode, digits)
        if texts[0] != texts[1]:
            break
    return texts


def said(loss: float, mode: Mode, digits: int = 4) -> str:
    """A loss as the value it stands for."""
    if abs(loss) >= WORST / 10:  # a cut-off that lies between a score and none
        return "no score"
    return f"{-loss if mode == 'max' else loss:.{digits}g}"


def worse_than(mode: Mode) -> str:
    """How a worse value stands to a better one."""
    return "is below" if mode == "max" else "is above"


@dataclass(frozen=True)
class LevelWords:
    """How a level is called."""

    unit: str = "epoch"

    def at(self, level: int) -> str:
        """Where a trial stood."""
        if self.unit == "epoch":
            return f"at epoch {level}"
        return f"after {level} {self.unit}{'' if level == 1 else 's'}"
