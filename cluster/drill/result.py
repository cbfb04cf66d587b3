"""What a drill found, as one object for the text, the JSON, the picture and the exit code."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.drill.compare import Difference
from cluster.drill.goodput import Goodput
from cluster.drill.outcome import Outcome, Reading
from training.journal import Event


@dataclass(frozen=True)
class Saving:
    """What checkpoints cost the broken run."""

    count: int  # seen whole
    num_bytes: int  # of them all, the best weights left out
    cost_s: float  # that training stood still for one, on average; NaN where it was not recorded
    blocked_fraction: float  # of the time of steps


@dataclass(frozen=True)
class RunFacts:
    """One of the two runs."""

    wall_s: float
    step_s: float  # of its epochs
    epoch_s: float  # of one, the median
    num_steps: int
    num_workers: tuple[int, ...]  # every number that it had
    readings: tuple[Reading, ...] = ()
    began_at: float = 0.0


@dataclass(frozen=True)
class DrillResult:
    """Both runs, the blows, and how the two differ."""

    name: str
    settings: Mapping[str, Any]  # seed, notice and the like, as they were in the end
    unbroken: RunFacts
    broken: RunFacts
    outcomes: tuple[Outcome, ...]
    absences: tuple[tuple[float, float], ...]
    num_missed: int  # blows that never fell, since the training was over
    weights: Difference | None  # None where the run was lost
    history: Difference | None
    goodput: Goodput
    saving: Saving
    allowed_s: float
    lost: str = ""  # why there is no result

    @property
    def same_workers(self) -> bool:
        """Only with as many workers in each step are the sums the same to the bit."""
        return len({*self.unbroken.num_workers, *self.broken.num_workers}) <= 1

    @property
    def problems(self) -> tuple[str, ...]:
        """All that is not as it must be."""
        found = [f"event {each.blow.number}, {each.blow.kind}: {each.problem}" for each in self.outcomes if not each.ok]
        if self.lost:
            return (f"the run was lost: {self.lost}", *found)
        if not self.outcomes:
            found.append("no event fell: the training was over (more --spacing-s, or more --acceleration of a trace)")
        if self.num_missed:
            found.append(f"{self.num_missed} events never fell: the training was over")
        if self.same_workers and self.weights is not None and not self.weights.is_equal:
            found.append(f"the weights differ: {self.weights.where} by {self.weights.largest:g}")
        if self.same_workers and self.history is not None and not self.history.is_equal:
            found.append(f"the history differs: {self.history.where} by {self.history.largest:g}")
        if self.broken.num_steps != self.unbroken.num_steps:
            found.append(f"{self.broken.num_steps} steps were made instead of {self.unbroken.num_steps}")
        return tuple(found)

    @property
    def ok(self) -> bool:
        """Nothing was lost that must not be."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For programs. A number that is none is null."""
        unbroken_s = self.unbroken.wall_s
        facts = {
            "name": self.name,
            "ok": self.ok,
            "problems": list(self.problems),
            "settings": dict(self.settings),
            "events": [outcome.as_json() for outcome in self.outcomes],
            "num_missed": self.num_missed,
            "allowed_s": self.allowed_s,
            "same_workers": self.same_workers,
            "weights": self.weights and asdict(self.weights) | {"equal": self.weights.is_equal},
            "history": self.history and asdict(self.history) | {"equal": self.history.is_equal},
            "goodput": asdict(self.goodput)
            | {
                "of_wall": self.goodput.of_wall,
                "of_machines": self.goodput.of_machines,
                "cost_per_event_s": self.goodput.cost_s(unbroken_s),
                "at_one_loss_an_hour": self.goodput.at_one_an_hour(unbroken_s),
            },
            "checkpoints": asdict(self.saving),
            "unbroken": _run_json(self.unbroken),
            "broken": _run_json(self.broken),
        }
        finite: dict[str, Any] = _finite(facts)
        return finite


def saving_of(events: Sequence[Event], count: int, num_bytes: int, wall_s: float) -> Saving:
    """From the journal, which tells the mean cost of some checkpoints at a time.

    Args:
        events: the journal.
        count: checkpoints that were seen.
        num_bytes: of them.
        wall_s: time in which steps were made.
    """
    told = [(int(event["count"]), float(event["cost_s"])) for event in events if event["event"] == "checkpoint"]
    num_told = sum(number for number, _ in told)
    cost_s = sum(number * cost for number, cost in told) / num_told if num_told else math.nan
    return Saving(count, num_bytes, cost_s, count * cost_s / wall_s if wall_s > 0 else math.nan)


def _run_json(run: RunFacts) -> dict[str, Any]:
    return {key: value for key, value in asdict(run).items() if key not in ("readings", "began_at")}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
