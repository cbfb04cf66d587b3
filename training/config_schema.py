"""Every key of an experiment, read from the schema: type, default, unit, meaning. What `--explain` prints."""

import difflib
import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from training.config import Experiment

MAX_VALUE_CHARS = 60
FREE = "<name>"  # stands for a key that the person chooses, as in data.columns.<name>
INDEX = "<n>"  # stands for a place in a list, from 0, as in data.join.<n>.on

_UNIT_ENDINGS = {
    "_ms": "ms",
    "_s": "s",
    "_mb": "MB",
    "_usd": "USD",
    "_fraction": "share",
    "_epochs": "epochs",
    "_batch_size": "rows",
    "_requests": "requests",
    "_trials": "trials",
    "_dim": "units",
}
_UNITS = {
    "train.epochs": "epochs",
    "train.early_stopping.patience": "epochs",
    "train.workers": "processes",
    "train.workers.min": "processes",
    "train.workers.max": "processes",
    "train.cpus_per_worker": "CPUs",
    "serve.cpus_per_replica": "CPUs",
    "serve.gpus_per_replica": "GPUs",
    "serve.replicas.min": "replicas",
    "serve.replicas.max": "replicas",
    "search.trials": "trials",
    "search.concurrency": "slots",
    "search.folds": "folds",
    "search.lanes": "trials",
    "search.memory_mb_per_trial": "MB",
    "search.usd_per_device_hour": "USD",
    "search.gpus_per_trial": "GPUs",
    "search.budget.device_hours": "hours",
    "model.hidden": "units",
    "model.dim": "units",
    "model.width": "channels",
}


@dataclass(frozen=True)
class Key:
    """One key that a person may write."""

    key: str
    type: str
    default: str
    unit: str
    meaning: str
    when: str = ""  # "kind=mlp" for keys of one kind of model only


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key of an experiment, in the order of the schema."""
    return tuple(_walk(Experiment, "", ""))


def _walk(model: type[BaseModel], prefix: str, when: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield Key(key, type_words(field.annotation), _default_words(field), _unit(key, field), _meaning(field), when)
        if _is_free(field.annotation):
            yield Key(f"{key}.{FREE}", type_words(_plain_args(field.annotation)[1]), "", "", _meaning(field), when)
        for part, between, part_when in _models_in(field.annotation):
            yield from _walk(part, f"{key}.{between}", when or part_when)


def _meaning(field: FieldInfo) -> str:
    return field.description or ""


def _unit(key: str, field: FieldInfo) -> str:
    if unit := _UNITS.get(key):
        return unit
    for ending, unit in _UNIT_ENDINGS.items():
        if key.endswith(ending):
            return unit
    return "share" if _meaning(field).startswith("share ") else ""


def _default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "see below" if isinstance(default, BaseModel) else value_words(default)


def value_words(value: Any) -> str:
    """A value as YAML would show it, cut when long."""
    if isinstance(value, tuple):
        value = list(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 3] + "..."


def _strip(annotation: Any) -> Any:
    """The annotation without `Annotated` around it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _options(annotation: Any) -> list[Any]:
    """The members of a union, flattened; one member for anything else."""
    bare = _strip(annotation)
    if get_origin(bare) in (Union, types.UnionType):
        return [option for part in get_args(bare) for option in _options(part)]
    return [bare]


def _plain_args(annotation: Any) -> tuple[Any, ...]:
    return get_args(next(option for option in _options(annotation) if get_origin(option) is dict))


def _is_free(annotation: Any) -> bool:
    return any(get_origin(option) is dict for option in _options(annotation))


def _models_in(annotation: Any) -> list[tuple[type[BaseModel], str, str]]:
    """The models that a key may hold, each with what stands between (a name, a place in a list) and its condition."""
    found: list[tuple[type[BaseModel], str, str]] = []
    for option in _options(annotation):
        origin, args = get_origin(option), get_args(option)
        if origin is dict:
            found += [(model, f"{FREE}.{between}", when) for model, between, when in _models_in(args[1])]
        elif origin in (tuple, list):
            found += [(model, f"{INDEX}.{between}", when) for model, between, when in _models_in(args[0])]
        elif isinstance(option, type) and issubclass(option, BaseModel):
            found.append((option, "", _condition(option)))
    return found


def _condition(model: type[BaseModel]) -> str:
    kind = model.model_fields.get("kind")
    if kind is not None and get_origin(_strip(kind.annotation)) is Literal:
        kinds = get_args(_strip(kind.annotation))
        return f"kind={kinds[0]}" if len(kinds) == 1 else ""  # a model of several kinds has the same keys in each
    return "own class" if set(model.model_fields) == {"target", "args"} else ""


_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
}


_ANY_SCALAR = {bool, int, float, str}


def type_words(annotation: Any) -> str:
    """A type as a person would say it: `whole number`, `list of text`, `one of auto, cpu, gpu`."""
    options = _options(annotation)
    if set(options) >= _ANY_SCALAR:
        return "value" if len(options) == len(_ANY_SCALAR) + 1 else "value or list of values"
    if len(options) > 1:
        words = list(dict.fromkeys(type_words(option) for option in options))
        return " or ".join(words)
    bare = options[0]
    origin, args = get_origin(bare), get_args(bare)
    if origin is Literal:
        return "one of " + ", ".join(str(arg) for arg in args)
    if origin in (tuple, list):
        if origin is tuple and args[-1] is not Ellipsis:
            return f"list of {len(args)} {_plural(type_words(args[0]))}"
        return f"list of {_plural(type_words(args[0]))}"
    if origin is dict or (isinstance(bare, type) and issubclass(bare, BaseModel)):
        return "mapping"
    return _WORDS.get(bare, getattr(bare, "__name__", str(bare)))


def _plural(words: str) -> str:
    return f"{words}s" if words.endswith(("number", "value")) else words


def matching_key(parts: tuple[str, ...]) -> Key | None:
    """The schema's entry for a key, or None where no such key exists."""
    return next(iter(matching_keys(parts)), None)


def matching_keys(parts: tuple[str, ...]) -> list[Key]:
    """Every entry for a key: one that stands in several kinds of a mapping has one each."""
    return [key for key, names in _names() if len(names) == len(parts) and all(map(_fits, names, parts))]


def _fits(name: str, part: str) -> bool:
    return name in (FREE, part) or (name == INDEX and part.isdecimal())


@cache
def _names() -> tuple[tuple[Key, tuple[str, ...]], ...]:
    return tuple((key, tuple(key.key.split("."))) for key in all_keys())


def split_key(key: str) -> tuple[str, ...]:
    """A dotted key as its parts, where a name that the person chooses may hold dots: data.columns.a.b.

    Known fields end such a name: search.space.train.peak_lr.log has the parts search, space, train.peak_lr, log.
    """
    found = [match.groups() for pattern in _patterns() if (match := pattern.fullmatch(key))]
    return max(found, key=len, default=tuple(key.split(".")))


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    chosen = {FREE: "(.+)", INDEX: "([0-9]+)"}
    return tuple(
        re.compile(r"\.".join(chosen.get(name, f"({re.escape(name)})") for name in names), re.DOTALL)
        for names in dict.fromkeys(names for _, names in _names())
    )


def nearest_key(key: str, among: list[str]) -> str | None:
    """The known key that a person most likely meant, or None when nothing is near."""
    key = re.sub(r"\.[0-9]+(?=\.|$)", f".{INDEX}", key)
    close = difflib.get_close_matches(key, among, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = key.rpartition(".")[2]
    ends = {name.rpartition(".")[2]: name for name in among}
    close = difflib.get_close_matches(last, list(ends), n=1, cutoff=0.75)
    return ends[close[0]] if close else None
