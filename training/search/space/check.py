"""What is wrong with a search space, all at once and before anything starts. No optuna, torch or ray here."""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from training.config import Experiment
from training.config_problems import Problem, known_keys, problems_of
from training.config_schema import matching_key, matching_keys, nearest_key, split_key
from training.config_set import MODEL_KIND, with_values
from training.model_config import CustomModelConfig
from training.search.space.conditions import Conditions, Never, circles, fixed_in
from training.search.space.dimensions import Dimension, LogRange, Range, conditions_of
from training.search.space.values import is_one_of, listed, said
from training.search_config import SEARCHED_SECTIONS

MAX_PAIRS = 1500  # of values tried together, about 1 s; of a larger space as many by chance
OF_KINDS = {  # settings that only some kinds of their parent look at
    "train.optimizer.momentum": ("train.optimizer.kind", ("sgd",)),
    "train.optimizer.nesterov": ("train.optimizer.kind", ("sgd",)),
    "train.optimizer.eps": ("train.optimizer.kind", ("adamw",)),
    "train.optimizer.betas": ("train.optimizer.kind", ("adamw", "lion")),
    "train.schedule.patience": ("train.schedule.kind", ("plateau",)),
    "train.schedule.factor": ("train.schedule.kind", ("plateau",)),
    "train.schedule.final_fraction": ("train.schedule.kind", ("cosine", "one_cycle")),
}
Pair = tuple[tuple[str, Any], tuple[str, Any]]


def space_problems(experiment: Experiment, written: Mapping[str, Any]) -> list[Problem]:
    """Keys that do not exist, conditions that never hold, values that the experiment would refuse, also in pairs.

    Args:
        experiment: that passed every other check.
        written: what a person wrote of it.
    """
    search = experiment.search
    if search is None:
        return []
    checks = (_unknown_keys, _circles, _idle_conditions, _kinds, _endless, _without_effect)
    left, wrong = dict(search.space), []
    for check in checks:
        found = list(check(experiment, Conditions(left, fixed_in(experiment))))
        wrong += found
        # What waits for a wrong key would be told in other words by the next check.
        left = _without(left, [key for key in left if any(_is_about(problem, key) for problem in found)])
    conditions, trials = Conditions(left, fixed_in(experiment)), _Trials(experiment, written)
    refused = list(_refused_values(conditions, trials))
    refused_keys = {key for key in left if any(_is_about(problem, key) for problem in refused)}
    pairs = [] if refused_keys else list(_refused_pairs(conditions, trials))
    points = list(_points(search.points, search.space, conditions, trials if not (refused or pairs) else None))
    return [*wrong, *refused, *pairs, *points]


def _where(key: str) -> str:
    return f"search.space.{key}"


def _is_about(problem: Problem, key: str) -> bool:
    return problem.key in (_where(key), f"{_where(key)}.when")


def _without(space: Mapping[str, Dimension], keys: Sequence[str]) -> dict[str, Dimension]:
    """The space without these keys and all that wait for them."""
    left = {key: dimension for key, dimension in space.items() if key not in keys}
    waiting = [key for key, dimension in left.items() if any(parent in keys for parent in conditions_of(dimension))]
    return _without(left, waiting) if waiting else left


def _unknown_keys(experiment: Experiment, conditions: Conditions) -> Iterator[Problem]:
    space = conditions.space
    known = [name for name in known_keys() if name.startswith(tuple(f"{part}." for part in SEARCHED_SECTIONS))]
    for key, dimension in space.items():
        if key == "model.target":
            yield Problem(_where(key), "cannot be searched: each class has arguments of its own; write one file each")
        elif not _exists(key, experiment, space):
            near = nearest_key(key, known)
            yield Problem(_where(key), "is not a key of the experiment" + (f" (nearest: {near})" if near else ""))
        for parent in conditions_of(dimension):
            if parent not in space and not _is_set(parent, conditions):
                near = nearest_key(parent, [*space, *known_keys()])
                yield Problem(
                    f"{_where(key)}.when",
                    f"names {parent}, which is neither searched nor a key that this experiment has"
                    + (f" (nearest: {near})" if near else ""),
                )


def _exists(key: str, experiment: Experiment, space: Mapping[str, Dimension]) -> bool:
    if key.startswith("model.args."):
        return isinstance(experiment.model, CustomModelConfig) and MODEL_KIND not in space
    return matching_key(split_key(key)) is not None


def _is_set(key: str, conditions: Conditions) -> bool:
    try:
        conditions.fixed(key)
    except KeyError:
        return False
    return True


def _without_effect(experiment: Experiment, conditions: Conditions) -> Iterator[Problem]:
    """Settings of an optimizer or a schedule that no trial has."""
    for key in conditions.space:
        parent, kinds = OF_KINDS.get(key, ("", ()))
        if not parent or parent in conditions.space or experiment.train.optimizer.target is not None:
            continue
        kind = conditions.fixed(parent)
        if kind not in kinds:
            yield Problem(_where(key), f"has no effect: it is of {' and '.join(kinds)}, and {parent} is {kind}")


def _circles(_: Experiment, conditions: Conditions) -> Iterator[Problem]:
    for circle in circles(conditions.space):
        way = " waits for ".join([*circle, circle[0]])
        yield from (Problem(f"{_where(key)}.when", f"goes in a circle: {way}") for key in circle)


def _idle_conditions(_: Experiment, conditions: Conditions) -> Iterator[Problem]:
    space = conditions.space
    for key, dimension in space.items():
        where, is_told = f"{_where(key)}.when", False
        for parent, values in conditions_of(dimension).items():
            if parent not in space and parent.startswith("model.") and parent != MODEL_KIND and MODEL_KIND in space:
                yield Problem(where, f"names {parent}, which another kind of model may not have; name {MODEL_KIND}")
            elif parent in space and (strange := [value for value in values if not space[parent].holds(value)]):
                is_told = True
                yield Problem(where, f"waits for {parent} to be {listed(strange)}; it is {space[parent].words()}")
        try:
            conditions.needs(key)
        except Never as never:
            if not is_told:
                yield Problem(where, f"never holds: {never}")


def _kinds(experiment: Experiment, conditions: Conditions) -> Iterator[Problem]:
    """Keys of one kind of model that would be drawn for another, too."""
    if MODEL_KIND not in conditions.space:
        return
    all_kinds = conditions.space[MODEL_KIND].values() or []
    if conditions_of(conditions.space[MODEL_KIND]):
        all_kinds = [*all_kinds, getattr(experiment.model, "kind", None)]
    for key in conditions.space:
        if not key.startswith("model.") or key == MODEL_KIND:
            continue
        having = [entry.when.removeprefix("kind=") for entry in matching_keys(split_key(key))]
        tried = conditions.needs(key).get(MODEL_KIND, all_kinds)
        if others := [kind for kind in tried if kind not in having]:
            fitting = [kind for kind in all_kinds if kind in having]
            hint = f"add when: {{{MODEL_KIND}: {_flow(fitting)}}}" if fitting else "leave it out"
            yield Problem(_where(key), f"is no key of a {listed(others)}, which is tried, too: {hint}")


def _endless(experiment: Experiment, conditions: Conditions) -> Iterator[Problem]:
    if experiment.search is None or experiment.search.sampler != "grid":
        return
    for key, dimension in conditions.space.items():
        if dimension.size() is None:
            hint = "give it a step, or list" if isinstance(dimension, Range) else "list"
            yield Problem(
                _where(key), f"has no step, so a grid over it has no end: {hint} the values as ordered: [...]"
            )


def _flow(values: Sequence[Any]) -> str:
    return said(values[0]) if len(values) == 1 else f"[{listed(values)}]"


class _Trials:
    """Tries settings on the experiment's schema, each once."""

    def __init__(self, experiment: Experiment, written: Mapping[str, Any]) -> None:
        self._raw = {**json.loads(json.dumps(written)), "search": None}
        self._kind = getattr(experiment.model, "kind", None)
        self._known: dict[str, list[Problem]] = {}

    def problems(self, params: Mapping[str, Any]) -> list[Problem]:
        """What the experiment says to a trial's settings."""
        text = json.dumps(params, sort_keys=True)
        if text not in self._known:
            self._known[text] = self._tried(params)
        return self._known[text]

    def _tried(self, params: Mapping[str, Any]) -> list[Problem]:
        raw = with_values(self._raw, self._kind, params)
        try:
            Experiment.model_validate_json(json.dumps(raw), strict=True)
        except ValidationError as error:
            return problems_of(error.errors(include_url=False), raw)
        return []


def _refused_values(conditions: Conditions, trials: _Trials) -> Iterator[Problem]:
    told: set[str] = set()
    for key, dimension in conditions.space.items():
        for value in dimension.corners():
            params = conditions.trial_with((key, value))
            for problem in trials.problems(params):
                # Another key of the same trial may be what is wrong.
                culprit = problem.key if problem.key in params else key
                found = _refusal(culprit, conditions.space[culprit], params[culprit], problem)
                if found.text not in told:
                    told.add(found.text)
                    yield found


def _refusal(key: str, dimension: Dimension, value: Any, problem: Problem) -> Problem:
    if isinstance(dimension, Range | LogRange) and problem.text.endswith("a whole number"):
        bounds = [int(bound) for bound in dimension.corners()]
        return Problem(_where(key), f"draws fractions, must be whole numbers: write {{int: {bounds}}}")
    return Problem(_where(key), f"would try {json.dumps(value)}, but {_told(problem)}")


def _told(problem: Problem) -> str:
    return f"{problem.key} {problem.text}".strip()


def _refused_pairs(conditions: Conditions, trials: _Trials) -> Iterator[Problem]:
    """Values that are fine by themselves and not together. One problem for two keys, however many values clash."""
    told: set[tuple[str, str]] = set()
    for (one, first), (other, second) in _pairs(conditions):
        if (one, other) in told:
            continue
        try:
            params = conditions.trial_with((one, first), (other, second))
        except Never:
            continue
        if problems := trials.problems(params):
            told.add((one, other))
            yield Problem(
                _where(one),
                f"would try {json.dumps(first)} together with {other}={json.dumps(second)}, but {_told(problems[0])}",
            )


def _pairs(conditions: Conditions) -> list[Pair]:
    values = {key: [(key, value) for value in conditions.space[key].corners()] for key in conditions.order}
    two: Callable[[Any], Iterator[Pair]] = lambda keys: itertools.product(values[keys[0]], values[keys[1]])  # noqa: E731
    pairs = [pair for keys in itertools.combinations(conditions.order, 2) for pair in two(keys)]
    return pairs if len(pairs) <= MAX_PAIRS else random.Random(0).sample(pairs, MAX_PAIRS)


def _points(
    points: Sequence[Mapping[str, Any]], space: Mapping[str, Dimension], conditions: Conditions, trials: _Trials | None
) -> Iterator[Problem]:
    """`trials` is None where the space is wrong in itself, so that no point can be tried."""
    for i, point in enumerate(points):
        if wrong := list(point_problems(point, space)):
            yield from (Problem(f"search.points.{i}.{problem.key}", problem.text) for problem in wrong)
        elif trials is not None and (wrong := trials.problems(conditions.completed(point))):
            yield Problem(f"search.points.{i}", f"would be tried, but {_told(wrong[0])}")


def point_problems(point: Mapping[str, Any], space: Mapping[str, Dimension]) -> Iterator[Problem]:
    """Keys and values of a known good setting that the space does not have."""
    for key, value in point.items():
        if key not in space:
            near = nearest_key(key, list(space))
            yield Problem(key, "is not in search.space" + (f" (nearest: {near})" if near else ""))
        elif not space[key].holds(value):
            yield Problem(key, f"is {json.dumps(value)}, which is not in the space: {space[key].words()}")
        else:
            for parent, values in conditions_of(space[key]).items():
                if parent in point and parent in space and not is_one_of(point[parent], values):
                    yield Problem(key, f"is not drawn where {parent} is {said(point[parent])}; leave it out")
