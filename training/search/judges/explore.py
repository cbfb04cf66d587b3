"""Settings of a strong member, changed a little: Ray Tune's explore step, within the bounds of the search space."""

import random
from collections.abc import Mapping
from typing import Any, assert_never

import numpy as np
from ray import tune
from ray.tune.schedulers.pbt import _explore

from training.search.space.dimensions import Choice, Dimension, IntRange, LogRange, Ordered, Range
from training.search.space.values import is_number
from training.seeds import seeded

FACTORS: Any = (1.2, 0.8)
FEW_VALUES = 20  # a number with so few goes to a neighbour; times 1.2, a small whole number would stay what it is
# They decide which rows are trained on and in what batches, which a member takes over with the weights.
TAKEN_OVER = ("train.global_batch_size", "train.micro_batch", "train.seed", "train.imbalance")


def changeable(space: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """The part of a space that a member may change while it keeps its weights: numbers of train., and dropout.

    Everything else decides about shapes, rows or the kind of optimizer, and comes with the weights. So do keys that
    decide whether others exist at all.
    """
    conditions = {key for dimension in space.values() for key in dimension.when}
    return {
        key: dimension
        for key, dimension in space.items()
        if _keeps_the_weights(key) and key not in conditions and _is_of_numbers(dimension)
    }


def _keeps_the_weights(key: str) -> bool:
    if any(f"{key}.".startswith(f"{fixed}.") for fixed in TAKEN_OVER):
        return False
    return key.startswith("train.") or (key.startswith("model.") and key.endswith("dropout"))


def _is_of_numbers(dimension: Dimension) -> bool:
    if isinstance(dimension, Choice | Ordered):
        return all(map(is_number, dimension.values()))
    return True


def explored(
    params: Mapping[str, Any], space: Mapping[str, Dimension], resample_fraction: float, place: tuple[int, int, int]
) -> dict[str, Any]:
    """All settings, those that may change drawn anew or moved a little.

    Args:
        params: of the member whose weights are taken.
        space: the search space.
        resample_fraction: share that is drawn anew.
        place: seed of the search, number of the trial, level: the same place draws the same.
    """
    moved = {key: dimension for key, dimension in changeable(space).items() if key in params}
    with seeded(_word(place)):
        found, _ = _explore(
            dict(params), {key: _mutation(dimension) for key, dimension in moved.items()}, resample_fraction, FACTORS,
            custom_explore_fn=None,
        )  # fmt: skip
    return found | {key: _within(dimension, found[key]) for key, dimension in moved.items()}


def picked(names: list[str], place: tuple[int, int, int]) -> str:
    """One of them; the same place picks the same."""
    return random.Random(_word(place)).choice(names)


def _word(place: tuple[int, int, int]) -> int:
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def _mutation(dimension: Dimension) -> Any:
    """In Tune's words: a list for what goes to a neighbour, a domain for what is multiplied."""
    match dimension:
        case Choice() | Ordered():
            values = dimension.values()
            return values if isinstance(dimension, Ordered) else sorted(values)
        case Range(range=(low, high)):
            return _listed(dimension) or tune.uniform(low, high)
        case LogRange(log=(low, high)):
            return tune.loguniform(low, high)
        case IntRange(int=(low, high), log=is_log):
            return _listed(dimension) or (tune.lograndint if is_log else tune.randint)(low, high + 1)
    assert_never(dimension)  # a new kind fails the type check here, not in the middle of a search


def _listed(dimension: Range | IntRange) -> list[Any] | None:
    size = dimension.size()
    return dimension.values() if size is not None and size <= FEW_VALUES else None


def _within(dimension: Dimension, value: Any) -> Any:
    """The nearest value that a trial may take."""
    match dimension:
        case Choice() | Ordered():
            return value
        case LogRange(log=(low, high)):
            return min(max(value, low), high)
        case Range(range=(low, _), step=step) | IntRange(int=(low, _), step=step):
            bounded = min(max(value, low), dimension.high)
            if step is None:
                return bounded
            index = round((bounded - low) / step)
            return dimension.at(index) if isinstance(dimension, Range) else low + index * step
    assert_never(dimension)
