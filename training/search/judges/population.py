"""Population-based training: weak members go on from a strong one's weights, with its settings changed a little."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.metric_names import Mode
from training.search.judges.explore import changeable, explored, picked
from training.search.judges.verdicts import (
    WORST,
    Clone,
    GoOn,
    LevelWords,
    Verdict,
    apart,
    loss_of,
    next_of,
    number_of,
)
from training.search.space.dimensions import Dimension
from training.search_config import PbtConfig


def why_no_clones(num_slots: int) -> str | None:
    """A sentence where no member could ever take over another one's weights, else None."""
    if num_slots > 1:
        return None
    return "scheduler=pbt compares trials that run at the same time: with one slot none takes over another's weights"


@dataclass
class Member:
    """A trial that has not ended."""

    params: dict[str, Any] | None = None  # None: recalled, and not met since, so that it may have ended long ago
    losses: dict[int, float] = field(default_factory=dict)  # by level
    clones: dict[int, Clone] = field(default_factory=dict)

    @property
    def level(self) -> int:
        """The furthest it was heard of."""
        return max(self.losses, default=0)

    def loss_at(self, level: int) -> float:
        """Its loss at this level, or the latest where it is not there yet."""
        return self.losses.get(level, self.losses[self.level])


class Population:
    """The trials that run. Asynchronous, with Ray Tune's quantiles and its explore step.

    Tune compares with the latest score of each other. A trial that begins while others are far ahead would at once
    become a copy of one, so here it is compared with what they had at its own level. A source is never behind: a member
    that was set back could come to the same place again and again.
    Source: Jaderberg et al., Population Based Training of Neural Networks, arXiv:1711.09846 (2017).
    """

    def __init__(
        self, config: PbtConfig, space: Mapping[str, Dimension], seed: int, last_level: int, mode: Mode,
        words: LevelWords,
    ) -> None:  # fmt: skip
        self.levels = tuple(range(config.interval, last_level, config.interval))
        self._config, self._space, self._seed, self._last_level = config, space, seed, last_level
        self._mode, self._words = mode, words
        self._members: dict[str, Member] = {}

    def next_level(self, trial: str, level: int) -> int:
        """The next multiple of the interval, or the last level."""
        return next_of(self.levels, level, self._last_level)

    def meet(self, trial: str, params: Mapping[str, Any]) -> None:
        """A member, with the settings that it has now."""
        self._members.setdefault(trial, Member()).params = dict(params)

    def hear(self, trial: str, level: int, values: Sequence[float], parts: Sequence[float] = ()) -> Verdict:
        """Clone where the member is in the last quantile and one of the first is better and not behind."""
        member = self._members[trial]
        if level in member.losses:
            return member.clones.get(level, GoOn())
        if level not in self.levels:
            return GoOn()
        member.losses[level] = loss_of(values[0], self._mode)
        first, last = self._quantiles(level)
        better = [name for name in first if self._is_source(name, member, level)]
        if trial not in last or not better:
            return GoOn()
        member.clones[level] = clone = self._clone(trial, level, better)
        member.params = dict(clone.params)
        return clone

    def recall(
        self, trial: str, level: int, values: Sequence[float | None], parts: Sequence[float | None] = ()
    ) -> None:
        """Remember its scores. It is a member again once it is met."""
        if level in self.levels:
            self._members.setdefault(trial, Member()).losses[level] = loss_of(values[0], self._mode)

    def leave(self, trial: str) -> None:
        """Its weights may be gone, so it is no source any more."""
        self._members.pop(trial, None)

    def forget(self, trial: str) -> None:
        """It is no source any more."""
        self._members.pop(trial, None)

    def _quantiles(self, level: int) -> tuple[list[str], list[str]]:
        """The first and the last of the members that were heard of, none where there is only one."""
        met = {name: member for name, member in self._members.items() if member.params is not None}
        heard = {name: member.loss_at(level) for name, member in met.items() if member.losses}
        names = sorted(heard, key=lambda name: (heard[name], number_of(name)))
        size = min(math.ceil(len(names) * self._config.quantile_fraction), len(names) // 2)
        return names[:size], names[len(names) - size :]

    def _is_source(self, name: str, member: Member, level: int) -> bool:
        source = self._members[name]
        return source.level >= level and source.loss_at(level) < min(member.losses[level], WORST)

    def _clone(self, trial: str, level: int, better: list[str]) -> Clone:
        place = (self._seed, number_of(trial), level)
        source = picked(better, place)
        before = self._members[source].params or {}
        params = explored(before, self._space, self._config.resample_fraction, place)
        losses = self._members[trial].losses[level], self._members[source].loss_at(level)
        own, bar = apart(*losses, self._mode)
        changes = [
            f"{key} {before[key]:.4g} -> {params[key]:.4g}"
            for key in changeable(self._space)
            if key in params and params[key] != before[key]
        ]
        told = f", with {', '.join(changes)}" if changes else ""
        why = f"{own} {self._words.at(level)} is among the weakest: goes on from {source}, which had {bar} there{told}"
        return Clone(source, params, why)
