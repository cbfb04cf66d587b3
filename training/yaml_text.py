"""YAML as people expect it: `3e-3` is a number, `no` and dates are text, a key stands once.

PyYAML reads YAML 1.1, where `3e-3` is text, `no` is false and `0123` is 83.
"""

import math
import re
from typing import Any

import yaml

from training.errors import ConfigError

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_ODD_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
_NULL = re.compile(r"^(~|null|Null|NULL|)$")


class _Reader(yaml.SafeLoader):
    """YAML 1.2's plain scalars, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML reads it so

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node)
            if key in seen and key != "<<":
                self.twice.append(f"{key} stands twice: line {seen[key]} and line {line}")
            seen[key] = line
        return super().construct_mapping(node, deep)


def _read_int(_reader: _Reader, node: yaml.ScalarNode) -> int:
    return int(node.value)


def _read_float(_reader: _Reader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Reader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Reader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Reader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Reader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
_Reader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_Reader.add_constructor("tag:yaml.org,2002:int", _read_int)
_Reader.add_constructor("tag:yaml.org,2002:float", _read_float)


class _Writer(yaml.SafeDumper):
    """Quotes text that either reading of YAML would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Writer.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str, origin: str) -> Any:
    """The value that the text stands for. `origin` names it in errors.

    Raises:
        ConfigError: not YAML, with line and column; or a key that stands twice.
    """
    reader = _Reader(text)
    try:
        value = reader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{origin} is not YAML{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{origin} is not YAML: {error}") from error
    finally:
        reader.dispose()
    if reader.twice:
        raise ConfigError("\n  ".join([f"{origin} has a key that stands twice", *reader.twice]), "keep one of them")
    return value


def dump_yaml(value: Any) -> str:
    """YAML text that `parse_yaml` and YAML 1.1 readers read back as the same value. Short lists stay on a line."""
    text = _dump(value, allow_unicode=True)
    # PyYAML writes these line breaks of Unicode as they are, and then reads them as a blank.
    return _dump(value, allow_unicode=False) if _ODD_BREAKS.search(text) else text


def _dump(value: Any, allow_unicode: bool) -> str:
    return str(
        yaml.dump(
            value, Dumper=_Writer, sort_keys=False, allow_unicode=allow_unicode, width=120, default_flow_style=None
        )
    )


def infinite_numbers(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], float]]:
    """Where the value holds an infinite number or NaN, which JSON and arithmetic cannot carry."""
    if isinstance(value, float) and not math.isfinite(value):
        return [(path, value)]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in infinite_numbers(item, (*path, str(key)))]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in infinite_numbers(item, (*path, str(i)))]
    return []
