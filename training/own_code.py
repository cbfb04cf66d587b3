"""Which of a person's own files an experiment runs: the modules it names, and what these import from their folder."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.config import Experiment

IMPORT_PATH = re.compile(r"^([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*$")


def own_files(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """The files by their path inside the folder.

    Imports are followed as they are written; what a module loads by a name that it makes up is not found.

    Args:
        experiment: names modules as `package.module:thing`.
        folder: that they are imported from.
    """
    named = (IMPORT_PATH.match(text) for text in _texts(experiment.model_dump(mode="json")))
    waiting = [match.group(1) for match in named if match]
    found: dict[str, Path] = {}
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for path in _files(folder, module):
            name = path.relative_to(folder).as_posix()
            if name not in found:
                found[name] = path
                waiting += _imported(path, folder)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _files(folder: Path, module: str) -> Iterator[Path]:
    """The file of a module and those of the packages around it, as far as they are in the folder."""
    place = folder
    for name in module.split("."):
        if (package := place / name / "__init__.py").is_file():
            yield package
        if (file := place / f"{name}.py").is_file():
            yield file
        place = place / name


def _imported(path: Path, folder: Path) -> Iterator[str]:
    """Full names of what a file imports; relative ones are resolved."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # whoever imports it says so better
        return
    package = path.relative_to(folder).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*around, *filter(None, [node.module])])
            yield from filter(None, [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)])
