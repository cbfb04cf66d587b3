"""An experiment file and its overrides to a checked `Experiment`. Neither torch, ray nor pyarrow is loaded here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.config import Experiment
from training.config_problems import Problem, problem_lines, problems_of, unknown_key_text
from training.config_schema import Key, all_keys, matching_key, split_key
from training.config_set import set_key, with_values
from training.errors import ConfigError
from training.search.space.check import space_problems
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
        set_key(raw, key, value)
    return _checked(raw, str(path), [key for key, _ in pairs])


def apply_overrides(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment with a trial's values at some keys, checked again but for its search space.

    A model of another `model.kind` begins from that kind's own defaults.
    """
    return _validate(_with(experiment, overrides), f"experiment {experiment.name}", list(overrides))


def with_overrides(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment with a person's values at some keys, checked as a whole. Raises ConfigError."""
    return _checked(_with(experiment, overrides), f"experiment {experiment.name}", list(overrides))


def _with(experiment: Experiment, overrides: Mapping[str, Any]) -> dict[str, Any]:
    return with_values(as_written(experiment), getattr(experiment.model, "kind", None), overrides)


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


def _checked(raw: dict[str, Any], origin: str, set_keys: Sequence[str]) -> Experiment:
    experiment = _validate(raw, origin, set_keys)
    if problems := space_problems(experiment, as_written(experiment)):
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
