"""What each blow cost, from what was seen of the run. Pure: no clock, no files, no Ray."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from cluster.drill.plan import Kind


@dataclass(frozen=True)
class Reading:
    """The run said that it had made so many optimizer steps."""

    time: float  # seconds, of any one clock
    step: int


@dataclass(frozen=True)
class Start:
    """Workers began, or began again, with this step behind them."""

    time: float
    step: int
    num_workers: int


@dataclass(frozen=True)
class Blow:
    """Something was done to the run."""

    number: int  # from 1
    kind: Kind
    time: float
    node: str = ""  # of the machine that was hit; the first characters of its id
    pid: int | None = None  # of the worker that was hit
    announced_s: float = 0.0  # that the machine still stood, of a notice


@dataclass(frozen=True)
class Seen:
    """Everything known of a run, each in order of time."""

    readings: tuple[Reading, ...]
    starts: tuple[Start, ...]
    ended_at: float | None = None  # None while it goes on
    absences: tuple[tuple[float, float], ...] = ()  # from, to: too few machines to train at all

    def absent_s(self, since: float, until: float) -> float:
        """Seconds between two times in which there were too few machines."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.absences)


@dataclass(frozen=True)
class Outcome:
    """What one blow cost."""

    blow: Blow
    at_step: int  # the last one known to have been made
    from_step: int | None  # where it went on; None where it has not
    seconds_lost: float  # of steps that had to be made again
    seconds_to_resume: float | None  # from the blow to the first new step, absence of machines left out
    seconds_absent: float  # without enough machines meanwhile
    problem: str = ""  # why it is not as it must be; empty when all is well

    @property
    def steps_lost(self) -> int:
        """Steps that had to be made again."""
        return 0 if self.from_step is None else max(0, self.at_step - self.from_step)

    @property
    def ok(self) -> bool:
        """As it must be."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        facts = {key: value for key, value in asdict(self.blow).items() if key != "time"}
        mine = {key: value for key, value in asdict(self).items() if key != "blow"}
        return facts | mine | {"steps_lost": self.steps_lost, "ok": self.ok}


def outcome_of(blow: Blow, seen: Seen, next_blow_at: float | None, allowed_s: float) -> Outcome:
    """Judge one blow.

    Args:
        blow: what happened.
        seen: of the run, so far.
        next_blow_at: time of the next one, which may fall before the run has resumed from this; None for none.
        allowed_s: seconds of steps that a blow without a notice may cost.
    """
    start = next((start for start in seen.starts if start.time > blow.time), None)
    until = start.time if start else float("inf")
    begun = next((each for each in reversed(seen.starts) if each.time <= blow.time), None)
    before = [reading for reading in seen.readings if reading.time <= until]
    # Since it last began: an earlier loss may have taken it back behind steps that it had made once.
    steps = [reading.step for reading in before if begun is None or reading.time > begun.time]
    reached = max(steps, default=begun.step if begun else 0)
    resumed = _resumed_at(seen, start)
    if start is None or resumed is None:
        return Outcome(blow, reached, None, 0.0, None, 0.0, _unresumed(seen, blow, reached, next_blow_at))
    absent_s = seen.absent_s(blow.time, resumed)
    lost_s = _seconds_between(before, begun, start.step, reached)
    steps_lost = max(0, reached - start.step)
    return Outcome(
        blow, reached, start.step, lost_s, resumed - blow.time - absent_s, absent_s,
        _problem(blow, steps_lost, lost_s, allowed_s),
    )  # fmt: skip


def outcomes_of(blows: Sequence[Blow], seen: Seen, allowed_s: float) -> tuple[Outcome, ...]:
    """Judge them all, in order."""
    times = [*(blow.time for blow in blows[1:]), None]
    return tuple(outcome_of(blow, seen, after, allowed_s) for blow, after in zip(blows, times, strict=False))


def _resumed_at(seen: Seen, start: Start | None) -> float | None:
    if start is None:
        return None
    after = (reading.time for reading in seen.readings if reading.time > start.time and reading.step > start.step)
    return next(after, None)


def _unresumed(seen: Seen, blow: Blow, reached: int, next_blow_at: float | None) -> str:
    if next_blow_at is not None:
        return ""  # another fell before it was up again, and is judged for both
    if seen.ended_at is not None and any(r.time > blow.time and r.step >= reached for r in seen.readings):
        return ""  # it was at its end, or did not need the machine that went
    return "not resumed"


def _problem(blow: Blow, steps_lost: int, lost_s: float, allowed_s: float) -> str:
    if blow.kind == Kind.NOTICE and steps_lost:
        return f"{steps_lost} steps lost in spite of the notice"
    if blow.kind != Kind.NOTICE and lost_s > allowed_s:
        return f"{lost_s:.1f} s of steps lost, {allowed_s:.1f} s allowed"
    return ""


def _seconds_between(readings: Sequence[Reading], begun: Start | None, step: int, reached: int) -> float:
    """How long the run took from one step to the other, when it made them last; known to about a second.

    Args:
        readings: until it stopped.
        begun: the last time before that it began, with some steps behind it: what came before is no time of steps.
        step: from here.
        reached: to here.
    """
    if reached <= step or not readings:
        return 0.0
    end = next(reading.time for reading in reversed(readings) if reading.step >= reached)
    since = [reading for reading in readings if reading.time <= end]
    if begun is not None and step >= begun.step:
        since = [Reading(begun.time, begun.step), *(reading for reading in since if reading.time > begun.time)]
    for earlier, later in reversed(list(pairwise(since))):
        if earlier.step <= step < later.step:
            share = (step - earlier.step) / (later.step - earlier.step)
            return end - (earlier.time + share * (later.time - earlier.time))
    return end - since[0].time
