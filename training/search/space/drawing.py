"""A search space drawn by Optuna: parents before what waits for them; lists and null come back as written."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FrozenTrial
from pydantic import TypeAdapter, ValidationError

from training.config import Experiment
from training.config_problems import problem_lines
from training.config_set import MODEL_KIND
from training.errors import ConfigError
from training.search.space.check import point_problems
from training.search.space.conditions import Conditions, fixed_in
from training.search.space.dimensions import Choice, Dimension, IntRange, LogRange, Ordered, Range, conditions_of
from training.search.space.values import same, stored
from training.search_config import SearchConfig

_SPACE: TypeAdapter[dict[str, Dimension]] = TypeAdapter(dict[str, Dimension])
_ANOTHER = object()  # stands for the values of a key that no other key waits for


class Space:
    """What a search may try, in Optuna's words.

    A trial's values are {experiment key: experiment value}; Optuna keeps them in a stored form, which is the JSON text
    of a list and the place of a value among `ordered` ones.
    """

    def __init__(self, search: SearchConfig, experiment: Experiment) -> None:
        self._search, self.conditions = search, Conditions(search.space, fixed_in(experiment))
        self.dimensions: dict[str, Dimension] = {key: search.space[key] for key in self.conditions.order}

    def draw(self, trial: BaseTrial) -> dict[str, Any]:
        """A trial's values. What the trial has already is given back, so one that was drawn halfway is completed."""
        drawn: dict[str, Any] = {}
        for key, dimension in self.dimensions.items():
            if self.conditions.is_drawn(key, drawn):
                drawn[key] = value_of(dimension, _suggested(trial, key, distribution_of(dimension)))
        return drawn

    def values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values that a trial of the study has."""
        return self.restored(trial.params)

    def restored(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values that were stored so."""
        return {key: value_of(dimension, params[key]) for key, dimension in self.dimensions.items() if key in params}

    def stored(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values in Optuna's stored form, in the order of drawing."""
        return {
            key: stored_value(dimension, values[key]) for key, dimension in self.dimensions.items() if key in values
        }

    def distributions(self, values: Mapping[str, Any] | None = None) -> dict[str, BaseDistribution]:
        """Of the keys that a trial with these values draws; without values, of those that every trial draws."""
        keys = self.always if values is None else values
        return {key: distribution_of(dimension) for key, dimension in self.dimensions.items() if key in keys}

    @cached_property
    def always(self) -> list[str]:
        """Keys that every trial draws."""
        return [key for key, dimension in self.dimensions.items() if not any(map(self._is_searched, dimension.when))]

    def _is_searched(self, key: str) -> bool:
        return key in self.dimensions

    @property
    def is_conditional(self) -> bool:
        """Whether some key is drawn in some trials only."""
        return len(self.always) < len(self.dimensions)

    def lacking(self, values: Mapping[str, Any]) -> str | None:
        """Why these values are no whole trial of the space; None where they are one."""
        for key, dimension in self.dimensions.items():
            is_drawn = self.conditions.is_drawn(key, values)
            if is_drawn and key not in values:
                return f"{key} is not given"
            if is_drawn and not dimension.holds(values[key]):
                return f"{key} is not {dimension.words()}"
        return None

    def points(self) -> list[dict[str, Any]]:
        """Settings to try first, stored: the experiment's own, as far as the space has them, then `search.points`.

        Raises:
            ConfigError: a point has a key or a value that the space does not have.
        """
        wanted = [own] if (own := self._own()) else []
        for i, point in enumerate(self._search.points):
            if problems := list(point_problems(point, self._search.space)):
                listed = "\n".join(problem_lines(problems))
                raise ConfigError(f"search.points.{i} is not in the search space\n{listed}", "correct it, or the space")
            wanted.append(point)
        points: list[dict[str, Any]] = []
        for point in map(self.stored, wanted):
            if point not in points:
                points.append(point)
        return points

    def _own(self) -> dict[str, Any]:
        fixed, own = self.conditions.fixed, dict[str, Any]()
        kind = self.dimensions.get(MODEL_KIND)
        is_other_kind = kind is not None and not _holds_own(kind, MODEL_KIND, self.conditions)
        for key, dimension in self.dimensions.items():
            if is_other_kind and key.startswith("model."):
                continue  # the experiment's value is of a kind that is not tried
            if self.conditions.is_drawn(key, own) and _holds_own(dimension, key, self.conditions):
                own[key] = fixed(key)
        return own

    def size(self) -> int | None:
        """How many different trials there are; None where there is no end of them."""
        return self._size(list(self.dimensions), {})

    def _size(self, keys: list[str], drawn: Mapping[str, Any]) -> int | None:
        if not keys:
            return 1
        key, *rest = keys
        if not self.conditions.is_drawn(key, drawn):
            return self._size(rest, drawn)
        num_values = self.dimensions[key].size()
        if num_values is None:
            return None
        waited_for = self.conditions.parents.get(key, [])
        branches = [(value, 1) for value in waited_for] + [(_ANOTHER, num_values - len(waited_for))]
        sizes = [(count, self._size(rest, {**drawn, key: value})) for value, count in branches if count]
        if any(size is None for _, size in sizes):
            return None
        return sum(count * (size or 0) for count, size in sizes)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every trial of a space that has an end, stored, in the order of the file.

        Raises:
            ConfigError: a range has no step.
        """
        self.require_end()
        return map(self.stored, self._combinations(list(self.dimensions), {}))

    def _combinations(self, keys: list[str], drawn: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not keys:
            yield drawn
            return
        key, *rest = keys
        if not self.conditions.is_drawn(key, drawn):
            yield from self._combinations(rest, drawn)
            return
        for value in self.dimensions[key].values() or []:
            yield from self._combinations(rest, {**drawn, key: value})

    def require_end(self) -> None:
        """Raise ConfigError where a dimension has no end of values."""
        if endless := [key for key, dimension in self.dimensions.items() if dimension.size() is None]:
            raise ConfigError(
                f"search.sampler=grid tries every combination, and there is no end of them in {', '.join(endless)}",
                "give {range: [low, high], step: s}, or list the values: {ordered: [...]}",
            )

    def fingerprint(self) -> str:
        """The space as text that a study keeps: a search that goes on must have the same."""
        dumped = {key: dimension.model_dump(mode="json") for key, dimension in sorted(self.dimensions.items())}
        return json.dumps(dumped, sort_keys=True)

    def differences(self, fingerprint: str) -> list[str]:
        """What a study's space had otherwise, in words; empty where it is this one."""
        if fingerprint == self.fingerprint():
            return []
        try:
            earlier = _SPACE.validate_json(fingerprint)
        except ValidationError:
            return ["the space was kept in a form that this version cannot read"]
        keys = [*self.dimensions, *(key for key in earlier if key not in self.dimensions)]
        pairs = ((key, _words(earlier.get(key)), _words(self.dimensions.get(key))) for key in keys)
        return [f"{key}: {before} -> {now}" for key, before, now in pairs if before != now]


def _words(dimension: Dimension | None) -> str:
    return "not searched" if dimension is None else described(dimension)


def described(dimension: Dimension) -> str:
    """A dimension with its condition, as a person would say it."""
    conditions = [
        f"{key} is {' or '.join(value if isinstance(value, str) else json.dumps(value) for value in values)}"
        for key, values in conditions_of(dimension).items()
    ]
    return dimension.words() + (f", where {' and '.join(conditions)}" if conditions else "")


def _holds_own(dimension: Dimension, key: str, conditions: Conditions) -> bool:
    try:
        return dimension.holds(conditions.fixed(key))
    except KeyError:
        return False


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """Our words for a dimension in Optuna's."""
    match dimension:
        case Choice(choice=values):
            return CategoricalDistribution([stored(value) for value in values])
        case Ordered(ordered=values):
            return IntDistribution(0, len(values) - 1)
        case Range(range=(low, _), step=step):
            return FloatDistribution(low, dimension.high, step=step)
        case LogRange(log=(low, high)):
            return FloatDistribution(low, high, log=True)
        case IntRange(int=(low, _), step=step, log=log):
            return IntDistribution(low, dimension.high, step=step, log=log)


def value_of(dimension: Dimension, kept: Any) -> Any:
    """A stored parameter as the experiment's value."""
    match dimension:
        case Choice(choice=values):
            return next(value for value in values if same(stored(value), kept))
        case Ordered(ordered=values):
            return values[kept]
        case Range(range=(low, _), step=step) if step is not None:
            return dimension.at(round((kept - low) / step))
        case _:
            return kept


def stored_value(dimension: Dimension, value: Any) -> Any:
    """An experiment's value, which the dimension holds, as Optuna keeps it."""
    match dimension:
        case Choice():
            return stored(value)
        case Ordered(ordered=values):
            return next(i for i, known in enumerate(values) if same(known, value))
        case Range(range=(low, _), step=step) if step is not None:
            return dimension.at(round((value - low) / step))
        case Range() | LogRange():
            return float(value)
        case _:
            return value


def _suggested(trial: BaseTrial, key: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(key, choices)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(key, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(key, low, high, step=step, log=log)
    raise AssertionError(f"{distribution} is none of ours")
