"""Made-up searches: who is where, with which values, in which order a driver hears of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from training.search.judges import Judge, Stop, Verdict
from training.search_config import SearchConfig

SPACE = {"train.peak_lr": {"log": [1e-4, 1e-1]}}


def search(scheduler: Any, **more: Any) -> SearchConfig:
    return SearchConfig.model_validate({"space": SPACE, "scheduler": scheduler} | more)


@dataclass(frozen=True)
class Told:
    """One thing that a driver hears."""

    trial: str
    level: int
    values: tuple[float, ...]

    @property
    def parts(self) -> list[float]:
        """So many as the level says. No two trials differ by the same twice, which Wilcoxon's test takes long for."""
        number = int(self.trial[1:])
        return [self.values[0] + 1e-4 * ((7 * number * i + i * i) % 101) for i in range(self.level)]


@st.composite
def stories(draw: st.DrawFn, last_level: int, num_objectives: int = 1, max_trials: int = 10) -> list[Told]:
    """Trials that each come to every level, in any interleaving; their values are often equal."""
    num_trials = draw(st.integers(1, max_trials))
    value = st.integers(0, 30).map(lambda number: number / 30)
    turns = draw(st.permutations([i for i in range(num_trials) for _ in range(last_level)]))
    level = dict.fromkeys(range(num_trials), 0)
    story = []
    for i in turns:
        level[i] += 1
        values = tuple(draw(value) for _ in range(num_objectives))
        story.append(Told(f"t{i:04d}", level[i], values))
    return story


def verdicts(judge: Judge, story: list[Told], stopped: set[str] | None = None) -> Iterator[tuple[Told, Verdict]]:
    """What becomes of each, as a driver does it: a stopped trial is not heard again, and others only at their rungs."""
    stopped = set() if stopped is None else stopped
    for told in story:
        if told.trial in stopped or judge.next_level(told.trial, told.level - 1) != told.level:
            continue
        verdict = judge.hear(told.trial, told.level, told.values, told.parts)
        if isinstance(verdict, Stop):
            stopped.add(told.trial)
        yield told, verdict
