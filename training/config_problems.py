"""What is wrong with an experiment, one line a problem: the key, what was got, what is allowed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from training.config import NAME_PATTERN
from training.config_schema import all_keys, matching_key, matching_keys, nearest_key, split_key, value_words

_PATTERN_WORDS = {
    NAME_PATTERN: 'lower-case letters, digits, ".", "_" or "-", starting with a letter or digit, at most 63',
    r"^validation/\w+$": "validation/<metric>, for example validation/accuracy",
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": "package.module:Class",
}


@dataclass(frozen=True)
class Problem:
    """One thing to put right. `key` is dotted; empty when the whole file is meant."""

    key: str
    text: str


def problems_of(errors: list[ErrorDetails], raw: Any) -> list[Problem]:
    """pydantic's errors in a person's words. Several about one key, as a union gives, become one."""
    texts: dict[str, list[str]] = {}
    placed = [(".".join(_parts(error, raw)), error) for error in errors]
    for key, error in placed:
        if error["type"].endswith("_type") and _says_more(key, placed):
            continue
        if error["type"] == "too_short" and _has_inside(key, placed):
            continue  # pydantic counts only what is right of a list
        texts.setdefault(key, []).append(_text(error, split_key(key)))
    return [Problem(key, _joined(list(dict.fromkeys(found)))) for key, found in texts.items()]


def _says_more(key: str, placed: list[tuple[str, ErrorDetails]]) -> bool:
    """True when another member of a union took the type and says what is wrong with or inside the value."""
    return _has_inside(key, placed) or any(
        other == key and error["type"] == "value_error" for other, error in placed
    )  # fmt: skip


def _has_inside(key: str, placed: list[tuple[str, ErrorDetails]]) -> bool:
    """True when something inside the value is wrong."""
    return any(other.startswith(f"{key}.") for other, _ in placed)


def problem_lines(problems: list[Problem]) -> list[str]:
    """The problems as lines with the keys in one column."""
    width = min(max((len(problem.key) for problem in problems), default=0), 48)
    return [f"  {problem.key:<{width}}  {problem.text}" if problem.key else f"  {problem.text}" for problem in problems]


def _joined(texts: list[str]) -> str:
    head, *rest = texts
    return " or ".join([head, *(text.partition("must be ")[2] or text for text in rest)])


def _parts(error: ErrorDetails, raw: Any) -> tuple[str, ...]:
    """The error's place in what the person wrote: pydantic's location without its names of union members."""
    parts: list[str] = []
    here = raw
    location = error["loc"]
    for i, name in enumerate(location):
        if isinstance(here, Mapping) and name in here:
            here = here[name]
        elif isinstance(here, list) and isinstance(name, int) and name < len(here):
            here = here[name]
        elif not (error["type"] == "missing" and i == len(location) - 1):
            continue
        parts.append(str(name))
    return tuple(parts)


def _text(error: ErrorDetails, parts: tuple[str, ...]) -> str:
    kind, context, got = error["type"], error.get("ctx", {}), error["input"]
    if kind == "missing":
        return _missing(parts)
    if kind == "extra_forbidden":
        return unknown_key_text(".".join(parts))
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return f"is {value_words(got)}, must be {_PATTERN_WORDS.get(pattern, f'text like {pattern}')}"
    if kind == "union_tag_invalid":
        kinds = context["expected_tags"].replace("'", "").removesuffix(", custom")
        return f"has kind {context['tag']}, must be one of {kinds}, or have `target` for a class of your own"
    if kind in ("dimension", "column"):  # errors of our own, which say it in full
        return f"is {value_words(got)}, {error['msg']}"
    allowed = _ALLOWED.get(kind)
    words = allowed(context) if allowed else error["msg"][:1].lower() + error["msg"][1:]
    return f"is {_got(got, kind)}, must be {words}"


def _got(value: Any, kind: str) -> str:
    """The value, with its type where the type is what is wrong."""
    if not kind.endswith("_type"):
        return value_words(value)
    if isinstance(value, Mapping | list):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} ({value_words(value)})"
    return f"the text {value_words(value)}" if isinstance(value, str) else value_words(value)


def _missing(parts: tuple[str, ...]) -> str:
    key = matching_key(parts)
    return f"is missing ({key.type}: {key.meaning})" if key else "is missing"


def unknown_key_text(key: str) -> str:
    """Says that a key is not known, and which known one is nearest."""
    if kinds := [entry.when for entry in matching_keys(split_key(key)) if entry.when]:
        what = "model" if key.startswith("model.") else "kind"
        return f"is a key of another {what} ({', '.join(kinds)})"
    near = nearest_key(key, known_keys())
    return f"is not a known key (nearest: {near})" if near else "is not a known key"


def known_keys() -> list[str]:
    """Every key of the schema, each once."""
    return list(dict.fromkeys(key.key for key in all_keys()))


_ALLOWED: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda context: f"above {context['gt']:g}",
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "less_than": lambda context: f"below {context['lt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
    "literal_error": lambda context: "one of " + context["expected"].replace(" or ", ", ").replace("'", ""),
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a smaller whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "string_type": lambda _: "text (put it in quotes)",
    "bool_type": lambda _: "true or false",
    "none_required": lambda _: "null",
    "list_type": lambda _: "a list",
    "tuple_type": lambda _: "a list",
    "dict_type": lambda _: "a mapping of names to values",
    "model_type": lambda _: "a mapping of keys to values",
    "model_attributes_type": lambda _: "a mapping of keys to values",
    "too_short": lambda context: f"longer: at least {context['min_length']}, not {context['actual_length']}",
    "too_long": lambda context: f"shorter: at most {context['max_length']}, not {context['actual_length']}",
    "string_too_short": lambda context: f"text of at least {context['min_length']} characters",
    "string_too_long": lambda context: f"text of at most {context['max_length']} characters",
}
