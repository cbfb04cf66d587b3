"""A trial that has not ended, and what the driver heard of it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, Trial

from training.metric_names import Mode, is_better
from training.search.messages import Heard, Part
from training.search.study import name_of


@dataclass
class OpenTrial:
    """Where a trial stands."""

    name: str
    trial: Trial
    params: dict[str, Any]
    source: str
    slot: str = ""
    began: float = field(default_factory=time.time)
    level: int = 0  # heard of
    known: int = 0  # level up to which slots told this driver
    reported: int = 0  # level up to which the study knows its score
    running: float | None = None  # best score, or mean, of the levels that were reported
    until: int = 0
    curve: list[float] = field(default_factory=list)
    rungs: list[tuple[int, float]] = field(default_factory=list)
    heard: list[list[float | None]] = field(default_factory=list)  # level and values of each judgement
    parts: tuple[Part, ...] = ()
    values: tuple[float, ...] = ()
    loss: float = 0.0
    share: float = 0.0  # done of the whole
    epochs: int = 0
    useful_s: float = 0.0
    startup_s: float = 0.0
    recomputed_s: float = 0.0
    lanes: int = 1
    attempts: int = 0
    deaths: int = 0
    is_suspect: bool = False  # it was in a process that died with others
    resumes: bool = False
    saved_bytes: int = 0
    lineage: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_cloning(self) -> bool:
        """Whether it was told to go on from another one's weights, and was not heard of since."""
        return bool(self.lineage) and self.level <= self.lineage[-1]["level"]

    @classmethod
    def reopened(cls, frozen: FrozenTrial, trial: Trial, params: dict[str, Any], source: str) -> "OpenTrial":
        """One that an earlier driver left open; its slot tells the whole curve again, of which the study has the best.

        Args:
            frozen: as the study knows it.
            trial: the same, to go on with.
            params: its settings, where it has not taken over others.
            source: who proposed it.
        """
        known = frozen.user_attrs
        spent, lineage = known.get("spent", {}), list(known.get("lineage", []))
        level = max(frozen.intermediate_values, default=0)
        return cls(
            name_of(frozen.number), trial, dict(lineage[-1]["params"]) if lineage else params, source, resumes=True,
            level=level, reported=level, running=frozen.intermediate_values.get(level), lineage=lineage,
            heard=list(known.get("heard", [])),
            curve=[frozen.intermediate_values.get(each, math.nan) for each in range(1, level + 1)],
            rungs=[(int(each[0] or 0), _number(each[1])) for each in known.get("heard", [])],
            useful_s=spent.get("useful_s", 0.0), startup_s=spent.get("startup_s", 0.0),
            recomputed_s=spent.get("recomputed_s", 0.0), attempts=max(1, spent.get("attempts", 1)),
        )  # fmt: skip

    @property
    def judged(self) -> int:
        """The furthest level at which it was judged."""
        return max((int(known[0] or 0) for known in self.heard), default=0)

    def take(self, heard: Heard) -> None:
        """What is new; a process that went on from a checkpoint repeats levels, which count once."""
        self.curve[heard.level - len(heard.curve) : heard.level] = heard.curve
        self.known = max(self.known, heard.level)
        if heard.level >= self.level:
            self.level, self.loss, self.share = heard.level, heard.loss, max(self.share, heard.share)
            self.values, self.parts = heard.values or self.values, heard.parts or self.parts
        if heard.restored_s is not None:
            self.recomputed_s += max(0.0, self.useful_s - self.recomputed_s - heard.restored_s)
        self.epochs, self.lanes = max(self.epochs, heard.epochs), max(self.lanes, heard.lanes)
        self.useful_s += heard.useful_s
        self.startup_s += heard.startup_s
        self.saved_bytes = max(self.saved_bytes, heard.saved_bytes)

    def report(self, mode: Mode, *, is_mean: bool) -> None:
        """Every new level is an intermediate value of the study: the best score so far, or the mean of all."""
        for level, score in enumerate(self.curve[self.reported : self.level], self.reported + 1):
            if is_mean:
                self.running = sum(self.curve[:level]) / level
            elif is_better(score, self.running, mode):
                self.running = score
            if self.running is not None and math.isfinite(self.running):
                self.trial.report(self.running, level)
        self.reported = max(self.reported, min(self.level, len(self.curve)))

    def note_judgement(self, level: int, values: Sequence[float]) -> bool:
        """Keep what the judge hears, for a later driver's judge; False where it was heard before."""
        if any(known[0] == level for known in self.heard):
            return False
        self.rungs.append((level, values[0]))
        self.heard.append([level, *finite(values)])
        self.trial.set_user_attr("heard", self.heard)
        return True

    def remember(self, **more: Any) -> None:
        """Into the study, what a later driver needs to go on with the trial."""
        spent = {
            "useful_s": self.useful_s, "startup_s": self.startup_s, "recomputed_s": self.recomputed_s,
            "attempts": self.attempts,
        }  # fmt: skip
        for key, value in {"spent": spent, **more}.items():
            self.trial.set_user_attr(key, value)


def finite(values: Sequence[float]) -> list[float | None]:
    """As the study keeps them: JSON has no NaN."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
