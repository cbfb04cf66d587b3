"""An experiment file and its overrides to a checked `Experiment`. Neither torch, ray nor pyarrow is loaded here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.config import Experiment
from training.config_problems import Problem, known_keys, problem_lines, problems_of, unknown_key_text
from training.config_schema import INDEX, Key, all_keys, matching_key, nearest_key, split_key
from training.errors import ConfigError
from training.model_config import CustomModelConfig
from training.search.space import Choice, Dimension, IntRange, LogRange, Range
from training.yaml_text import dump_yaml, infinite_numbers, parse_yaml

YAML_ENDINGS = (".yaml", ".yml")
MAX_NEARBY = 10


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check one experiment file.

    Args:
        path: the YAML file.
        overrides: texts like "train.peak_lr=3e-4"; the value is read as YAML.

    Raises:
        ConfigError: names every problem at once, each with its key, what was got and what is allowed.
    """
    raw = parse_yaml(_read(path), str(path))
    if raw is None:
        raise ConfigError(f"{path} is empty", "`manta init table.csv --target column` writes a first one")
    if not isinstance(raw, dict):
        got = "a list" if isinstance(raw, list) else f"the single value {json.dumps(raw, default=str)}"
        raise ConfigError(f"{path} holds {got}, must be a mapping of keys to values", "start with `name: ...`")
    pairs = [_parse_override(text) for text in overrides]
    for key, value in pairs:
        _set(raw, key, value)
    return _checked(raw, str(path), [key for key, _ in pairs])


def apply_overrides(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment with other values at some keys, checked again. Search trials use it too."""
    raw = as_written(experiment)
    for key, value in overrides.items():
        _set(raw, key, value)
    return _validate(raw, f"experiment {experiment.name}", list(overrides))


def as_written(experiment: Experiment) -> dict[str, Any]:
    """What a person wrote, as plain data: defaults are left out, so that another `model.kind` can be set."""
    return experiment.model_dump(mode="json", exclude_unset=True)


def dump_experiment(experiment: Experiment) -> str:
    """The experiment as YAML with every default filled in: the run folder's `experiment.yaml`."""
    return dump_yaml(experiment.model_dump(mode="json"))


def explain() -> tuple[Key, ...]:
    """Every key with type, default, unit and meaning."""
    return all_keys()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", _nearby(path)) from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not an experiment file", _nearby(path / "any")) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _nearby(path: Path) -> str:
    folders = dict.fromkeys([path.parent, Path(), Path("configs")])
    found = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    names = [str(file) for file in found if file.suffix in YAML_ENDINGS and not file.name.startswith(".")]
    if not names:
        return "`manta init table.csv --target column --output experiment.yaml` writes one"
    return f"found nearby: {', '.join(names[:MAX_NEARBY])}"


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text} is not of the form key=value", "for example --set train.peak_lr=3e-4")
    return key.strip(), parse_yaml(value, f"the value of --set {key.strip()}")


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a dotted key. What is no mapping on the way, such as `workers: 2`, becomes one."""
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


def _checked(raw: dict[str, Any], origin: str, set_keys: Sequence[str]) -> Experiment:
    experiment = _validate(raw, origin, set_keys)
    if problems := list(_space_problems(experiment)):
        raise _error(problems, origin, set_keys)
    return experiment


def _validate(raw: dict[str, Any], origin: str, set_keys: Sequence[str]) -> Experiment:
    try:
        infinite = infinite_numbers(raw)
        finite = json.loads(json.dumps(raw, default=str))
    except (RecursionError, TypeError, ValueError) as error:
        raise ConfigError(f"{origin} holds a value that cannot be plain data: {error}") from error
    unknown = [Problem(key, unknown_key_text(key)) for key in set_keys if not _exists(key)]
    wrong = unknown + [Problem(".".join(path), f"is {value}, must be a finite number") for path, value in infinite]
    try:
        # JSON mode is strict about types (a quoted "3" is text) yet takes lists for tuples.
        experiment = Experiment.model_validate_json(json.dumps(finite), strict=True)
    except ValidationError as error:
        # include_url=False: pydantic's links explain pydantic, not the experiment.
        said = [problem.key for problem in wrong]
        found = problems_of(error.errors(include_url=False), finite)
        wrong += [problem for problem in found if not any(f"{key}.".startswith(f"{problem.key}.") for key in said)]
    if wrong:
        raise _error(wrong, origin, set_keys)
    return experiment


def _exists(key: str) -> bool:
    return matching_key(split_key(key)) is not None or key.startswith("search.space.")


def _error(problems: Sequence[Problem], origin: str, set_keys: Sequence[str] = ()) -> ConfigError:
    marked = [Problem(problem.key, problem.text + _from_set(problem.key, set_keys)) for problem in problems]
    count = "1 problem" if len(marked) == 1 else f"{len(marked)} problems"
    return ConfigError(
        "\n".join([f"{origin} has {count}", *problem_lines(marked)]),
        "`manta check --explain` lists every key",
    )


def _from_set(key: str, set_keys: Sequence[str]) -> str:
    own = any(key == name or key.startswith(f"{name}.") for name in set_keys)
    return " (from --set)" if own else ""


def _space_problems(experiment: Experiment) -> Iterator[Problem]:
    """Keys of the search space that do not exist, and values that they would refuse."""
    search = experiment.search
    if search is None:
        return
    raw = as_written(experiment) | {"search": None}
    for key, dimension in search.space.items():
        where = f"search.space.{key}"
        if key in ("model.kind", "model.target"):
            yield Problem(where, "cannot be searched: each kind of model has keys of its own; write one file each")
        elif not _is_searchable(key, experiment):
            near = nearest_key(key, [name for name in known_keys() if name.startswith(("data.", "model.", "train."))])
            yield Problem(where, "is not a key of the experiment" + (f" (nearest: {near})" if near else ""))
        else:
            yield from _refused_values(where, key, dimension, raw)


def _is_searchable(key: str, experiment: Experiment) -> bool:
    if key.startswith("model.args."):
        return isinstance(experiment.model, CustomModelConfig)
    return matching_key(split_key(key)) is not None


def _refused_values(where: str, key: str, dimension: Dimension, raw: dict[str, Any]) -> Iterator[Problem]:
    for value in _corners(dimension):
        trial = json.loads(json.dumps(raw))
        _set(trial, key, value)
        try:
            Experiment.model_validate_json(json.dumps(trial), strict=True)
        except ValidationError as error:
            for problem in problems_of(error.errors(include_url=False), trial):
                if isinstance(dimension, Range | LogRange) and problem.text.endswith("a whole number"):
                    bounds = [int(bound) for bound in _corners(dimension)]
                    yield Problem(where, f"draws fractions, must be whole numbers: write {{int: {bounds}}}")
                    return
                yield Problem(where, f"would try {json.dumps(value)}, but {problem.key} {problem.text}")


def _corners(dimension: Dimension) -> list[Any]:
    """The values of a dimension that the schema is most likely to refuse."""
    match dimension:
        case Choice(choice=values):
            return list(values)
        case Range(range=bounds) | LogRange(log=bounds) | IntRange(int=bounds):
            return list(bounds)
