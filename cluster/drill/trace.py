"""A recorded history of spot machines, as changes of how many there are."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

from cluster.drill.errors import DrillError

FORM = '{"metadata": {"gap_seconds": s}, "data": [n, n, ...]}, n being the number of machines that run'


@dataclass(frozen=True)
class Trace:
    """How many machines ran, at equal distances of time."""

    gap_s: float
    levels: tuple[int, ...]

    @property
    def most(self) -> int:
        """Machines at the best of times."""
        return max(self.levels)


def acceleration_for(trace: Trace, num_losses: int, useful_s: float, overhead_s: float) -> float:
    """The least speed of the trace, to a tenth, at which a training has lost a machine so many times at its end.

    Args:
        trace: as recorded; it is repeated where it is too short.
        num_losses: wanted.
        useful_s: seconds of steps that the training takes.
        overhead_s: seconds without steps that each loss costs.

    Raises:
        DrillError: it never loses a machine.
    """
    levels = trace.levels[next(index for index, level in enumerate(trace.levels) if level > 0) :] + trace.levels
    if not any(now < before for before, now in pairwise(levels)):
        raise DrillError("the trace never loses a machine", "another trace, or a drill without --trace")
    acceleration = 1.0
    while not _loses_enough(trace, acceleration, num_losses, useful_s, overhead_s):
        acceleration *= 1.1
    return acceleration


def _loses_enough(trace: Trace, acceleration: float, num_losses: int, useful_s: float, overhead_s: float) -> bool:
    """Whether so many machines are lost before a training of so many seconds is done."""
    useful, until, losses, before = 0.0, 0.0, 0, 0
    gap_s = trace.gap_s / acceleration
    start = next(index for index, level in enumerate(trace.levels) if level > 0)
    for number, level in enumerate(islice(cycle(trace.levels), start, None)):
        now = number * gap_s
        if level < before:
            losses += 1
        if level != before and level > 0:
            until = now + overhead_s  # it begins anew with what is there
        useful += gap_s if level > 0 and now >= until else 0.0
        if losses >= num_losses or useful >= useful_s:
            return losses >= num_losses
        before = level
    raise AssertionError("a cycle has no end")


@dataclass(frozen=True)
class Change:
    """At so many seconds of our clock, there are so many machines."""

    at_s: float
    num_nodes: int


def read_trace(path: Path) -> Trace:
    """Read a trace. Raises DrillError with what is wrong with the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DrillError(
            f"the trace {path} cannot be read: {getattr(error, 'strerror', None) or error}", f"a trace is {FORM}"
        ) from error
    except json.JSONDecodeError as error:
        raise DrillError(f"{path} is not JSON: {error}", f"a trace is {FORM}") from error
    return _checked(path, raw)


def _checked(path: Path, raw: Any) -> Trace:
    given = raw if isinstance(raw, dict) else {}
    metadata: Any = given.get("metadata")
    gap: Any = metadata.get("gap_seconds") if isinstance(metadata, dict) else None
    levels: Any = given.get("data")
    if not _is_number(gap) or gap <= 0:
        raise DrillError(f"{path} is not a trace: metadata.gap_seconds is {gap!r}", f"a trace is {FORM}")
    if not isinstance(levels, list) or not all(_is_number(level) and level >= 0 for level in levels):
        raise DrillError(f"{path} is not a trace: data is no list of numbers", f"a trace is {FORM}")
    if not levels or max(levels) < 1:
        raise DrillError(f"{path} has no machine at any time", f"a trace is {FORM}")
    return Trace(float(gap), tuple(int(level) for level in levels))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def changes_of(trace: Trace, acceleration: float, num_nodes: int) -> Iterator[Change]:
    """The trace on our clock, again and again without an end. It begins where a machine first runs.

    Args:
        trace: as recorded.
        acceleration: seconds of the trace that pass in one of ours.
        num_nodes: machines that stand for the trace's most; fewer are as many as are left of them, rounded down.
    """
    scaled = [level * num_nodes // trace.most for level in trace.levels]
    start = next(index for index, level in enumerate(scaled) if level > 0)
    before = -1
    index = start
    while True:
        level = scaled[index % len(scaled)]
        if level != before:
            yield Change((index - start) * trace.gap_s / acceleration, level)
        before = level
        index += 1
