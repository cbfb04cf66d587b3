"""Which keys of a search space are drawn in a trial. No optuna here: `manta check` asks, too.

A condition on a key of the space holds only in trials in which that key is drawn itself, so conditions chain.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from training.config import Experiment
from training.config_schema import split_key
from training.search.space.dimensions import Dimension, conditions_of
from training.search.space.values import is_one_of, listed, said

Needs = dict[str, list[Any]]  # key of the space -> values, one of which it must have


class Never(Exception):
    """A condition that cannot hold, and why."""


def fixed_in(experiment: Experiment) -> Callable[[str], Any]:
    """The experiment's own value at a key; raises KeyError where there is none."""
    dumped = experiment.model_dump(mode="json", exclude={"search"})

    def at(key: str) -> Any:
        here: Any = dumped
        for part in split_key(key):
            if not isinstance(here, Mapping) or part not in here:
                raise KeyError(key)
            here = here[part]
        return here

    return at


def circles(space: Mapping[str, Dimension]) -> list[list[str]]:
    """Keys that wait for each other, each circle once."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(key: str, way: list[str]) -> None:
        if key in way:
            found.append(way[way.index(key) :])
        elif key in space and key not in done:
            for parent in conditions_of(space[key]):
                visit(parent, [*way, key])
            done.add(key)

    for key in space:
        visit(key, [])
    return found


class Conditions:
    """The conditions of a space that has no circle."""

    def __init__(self, space: Mapping[str, Dimension], fixed: Callable[[str], Any]) -> None:
        """`fixed` gives the experiment's own value at a key that is not searched, or raises KeyError."""
        self.space, self.fixed = space, fixed
        self._needs: dict[str, Needs | Never] = {}

    @cached_property
    def order(self) -> list[str]:
        """Keys as they are drawn: those that others wait for before them, else as in the file."""
        order: list[str] = []

        def visit(key: str) -> None:
            if key in self.space and key not in order:
                for parent in conditions_of(self.space[key]):
                    visit(parent)
                order.append(key)

        for key in self.space:
            visit(key)
        return order

    @cached_property
    def parents(self) -> dict[str, list[Any]]:
        """Keys of the space that others wait for, each with the values that are waited for."""
        found: dict[str, list[Any]] = {}
        for dimension in self.space.values():
            for key, values in conditions_of(dimension).items():
                if key in self.space:
                    known = found.setdefault(key, [])
                    known += [value for value in values if not is_one_of(value, known)]
        return found

    def needs(self, key: str) -> Needs:
        """What other keys of the space must be for this one to be drawn. Raises Never."""
        if key not in self._needs:
            try:
                self._needs[key] = self._found(key)
            except Never as never:
                self._needs[key] = never
        found = self._needs[key]
        if isinstance(found, Never):
            raise found
        return found

    def _found(self, key: str) -> Needs:
        found: Needs = {}
        for parent, values in conditions_of(self.space[key]).items():
            if parent in self.space:
                possible = [value for value in values if self.space[parent].holds(value)]
                if not possible:
                    raise Never(f"{parent} is {self.space[parent].words()}, never {listed(values)}")
                found = both(found, {parent: possible}, self.needs(parent))
            elif not self._is_fixed_at(parent, values):
                raise Never(f"{parent} is {said(self.fixed(parent))} in all trials, not {listed(values)}")
        return found

    def _is_fixed_at(self, key: str, values: Sequence[Any]) -> bool:
        return is_one_of(self.fixed(key), values)

    def is_drawn(self, key: str, drawn: Mapping[str, Any]) -> bool:
        """Whether a trial draws this key.

        Args:
            key: of the space.
            drawn: the trial's values so far, at least of the keys before this one in `order`.
        """
        for parent, values in conditions_of(self.space[key]).items():
            if parent in self.space:
                if parent not in drawn or not is_one_of(drawn[parent], values):
                    return False
            elif not self._is_fixed_at(parent, values):
                return False
        return True

    def completed(self, some: Mapping[str, Any]) -> dict[str, Any]:
        """A whole trial with these values: what is not given is the experiment's own value, or a corner."""
        drawn: dict[str, Any] = {}
        for key in self.order:
            if self.is_drawn(key, drawn):
                drawn[key] = some[key] if key in some else self.usual(key)
        return drawn

    def usual(self, key: str) -> Any:
        """The experiment's own value where the space has it, else the first one."""
        dimension = self.space[key]
        try:
            own = self.fixed(key)
        except KeyError:
            return dimension.corners()[0]
        return own if dimension.holds(own) else dimension.corners()[0]

    def trial_with(self, *wanted: tuple[str, Any]) -> dict[str, Any]:
        """A whole trial in which these keys are drawn and have these values. Raises Never where there is none."""
        needed = both(*(self.needs(key) for key, _ in wanted), {}, *({key: [value]} for key, value in wanted))
        return self.completed({key: self._preferred(key, values) for key, values in needed.items()})

    def _preferred(self, key: str, values: Sequence[Any]) -> Any:
        usual = self.usual(key)
        return usual if is_one_of(usual, values) else values[0]


def both(*several: Needs) -> Needs:
    """All of them at once. Raises Never where they exclude each other."""
    found: Needs = {}
    for needs in several:
        for key, values in needs.items():
            left = [value for value in values if key not in found or is_one_of(value, found[key])]
            if not left:
                raise Never(f"{key} would have to be {listed(found[key])} and {listed(values)} at once")
            found[key] = left
    return found
