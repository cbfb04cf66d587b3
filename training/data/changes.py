"""Whether the files of a run's sources are still those that were read, told without reading them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.data.config import DataConfig, DataFormat
from training.data.sources.files import find_files, versions
from training.data.sources.functions import is_function, is_sklearn
from training.data.sources.sql import is_database
from training.errors import DataError


def files_changed(sources: Iterable[Mapping[str, Any]], data: DataConfig, base: Path | None = None) -> bool:
    """True where a file is newer, of another size, or not one of those that were read; their content may be the same.

    False where nothing can be seen: databases, functions, and files that are gone, since a finished run may outlive
    its data.

    Args:
        sources: SourceFacts as a run has stored them.
        data: where the sources are.
        base: folder that relative paths start from; the working directory by default.
    """
    stored = {str(source["name"]): list(source.get("files") or []) for source in sources}
    for name, uri, wanted in _files(data):
        if not stored.get(name):
            continue
        try:
            found = find_files(uri, base or Path.cwd(), wanted)
        except DataError:
            continue
        if [asdict(version) for version in versions(found.filesystem, found.paths)] != stored[name]:
            return True
    return False


def _files(data: DataConfig) -> Iterator[tuple[str, str, DataFormat]]:
    named = [("source", data.source, data.format), ("test", data.test, data.format)]
    named += [(f"join.{i}", join.source, join.format) for i, join in enumerate(data.join)]
    for name, uri, wanted in named:
        if uri is not None and not (is_sklearn(uri) or is_database(uri) or is_function(uri)):
            yield name, uri, wanted
