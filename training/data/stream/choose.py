"""Whether a table is streamed: as the config says, or by its size and the memory there is."""

import re
from pathlib import Path

from training.data.config import DataConfig
from training.data.sources.files import Found, find_files, format_of
from training.data.sources.functions import is_function, is_sklearn
from training.data.sources.sql import is_database
from training.data.stream.files import open_table
from training.errors import DataError
from training.redact import shown

MEMORY_SHARE = 0.5  # of the free memory; what takes more is streamed: reading and encoding need as much again
_CGROUPS = (  # limit and use, where a container has a limit of its own
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def should_stream(data: DataConfig, base: Path | None = None) -> bool:
    """Whether `data.source` is read window by window.

    Raises:
        DataError: the files cannot be found.
    """
    if data.loading == "memory" or data.task in ("multilabel", "language_modelling"):
        return False
    if data.loading == "stream":
        return True
    found = parquet_files(data, data.source, base or Path.cwd())
    if found is None:
        return False
    try:
        table = open_table(found, shown(data.source))
    except DataError:  # whoever reads the files into memory tells what is wrong with them
        return False
    return table.row_bytes * table.num_rows > MEMORY_SHARE * free_memory_bytes()


def free_memory_bytes() -> int:
    """Memory that this process may still take: of the machine, or of its container."""
    free = [_of_machine()]
    for limit, used in _CGROUPS:
        try:
            free.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such limit: "max" is no number
            continue
    return max(0, min(free))


def _of_machine() -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def parquet_files(data: DataConfig, source: str, base: Path) -> Found | None:
    """The files of a source that is made of Parquet alone; None for any other."""
    if is_sklearn(source) or is_database(source) or is_function(source) or data.format not in ("auto", "parquet"):
        return None
    found = find_files(source, base, data.format)
    return found if all(format_of(path, data.format) == "parquet" for path in found.paths) else None
