"""Putting values at dotted keys of an experiment as a person wrote it. Plain data; neither torch nor ray."""

from collections.abc import Mapping
from typing import Any

from training.config_schema import INDEX, matching_key, split_key

MODEL_KIND = "model.kind"


def set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a dotted key. What is no mapping on the way, such as `workers: 2`, becomes one.

    Mappings and lists on the way are replaced by copies; only `raw` itself is changed.
    """
    parts = split_key(key)
    known = matching_key(parts)
    is_place = [name == INDEX for name in known.key.split(".")] if known else [False] * len(parts)
    here: Any = raw
    for part, next_is_place in zip(parts[:-1], is_place[1:], strict=True):
        below = _at(here, part)
        if next_is_place:
            below = list(below) if isinstance(below, list) else []
        else:
            below = dict(below) if isinstance(below, dict) else {}
        _put(here, part, below)
        here = below
    _put(here, parts[-1], value)


def _at(here: Any, part: str) -> Any:
    if isinstance(here, list):
        return here[int(part)] if int(part) < len(here) else None
    return here.get(part)


def _put(here: Any, part: str, value: Any) -> None:
    """At a key, or at a place of a list: one of its own, or the next one."""
    if not isinstance(here, list):
        here[part] = value
    elif int(part) < len(here):
        here[int(part)] = value
    else:
        here.append(value)


def with_values(raw: Mapping[str, Any], kind: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with other values at some keys, a trial's for instance.

    A model of another kind begins from that kind's own defaults: what is written under `model` was meant for the
    kind it was written for, and other kinds have other keys, or the same ones with another meaning.

    Args:
        raw: the experiment as written.
        kind: of its model; None for a class of one's own.
        values: by dotted key.
    """
    copy = dict(raw)
    if MODEL_KIND in values and values[MODEL_KIND] != kind:
        copy["model"] = {}
    for key, value in values.items():
        set_key(copy, key, value)
    return copy
