"""Values of a search space: when two are the same, and how they are kept and said."""

import json
from collections.abc import Sequence
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Equal, and truth values no numbers: true is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(isinstance(one, bool) == isinstance(other, bool) and one == other)


def is_one_of(value: Any, values: Sequence[Any]) -> bool:
    """Whether the values hold this one."""
    return any(same(value, known) for known in values)


def is_number(value: Any) -> bool:
    """Whether it is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def stored(value: Any) -> Any:
    """A choice as a scalar, which is all that Optuna keeps: a list is its JSON text."""
    return json.dumps(value) if isinstance(value, list) else value


def said(value: Any) -> str:
    """As YAML would show it; text without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def listed(values: Sequence[Any]) -> str:
    """Several, with commas."""
    return ", ".join(map(said, values))
