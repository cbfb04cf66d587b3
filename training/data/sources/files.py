"""Find the files of a source: one file, a folder or a glob, on any file system that pyarrow knows."""

import fnmatch
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from training.data.config import DataFormat
from training.data.raw import FileVersion
from training.data.sources.words import listed, one_line
from training.errors import DataError
from training.redact import shown

PARQUET_ENDINGS = (".parquet", ".pq")
CSV_ENDINGS = (".csv", ".tsv", ".txt", ".data", ".csv.gz", ".tsv.gz")
ARROW_ENDINGS = (".arrow", ".feather", ".ipc", ".arrows")
JSONL_ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
JSON_ENDINGS = (".json", ".json.gz")  # in a folder most often notes beside the data, so only where named
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
ENDINGS: dict[DataFormat, tuple[str, ...]] = {
    "csv": CSV_ENDINGS,
    "parquet": PARQUET_ENDINGS,
    "arrow": ARROW_ENDINGS,
    "jsonl": JSONL_ENDINGS,
    "images": IMAGE_ENDINGS,
}
TABLE_ENDINGS = tuple(ending for kind, endings in ENDINGS.items() if kind != "images" for ending in endings)
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # how Hive and Spark write a missing value into a folder's name

_GLOB = re.compile(r"[*?\[]")
_URI_GLOB = re.compile(r"[*\[]")  # in a URI a question mark begins the options


@dataclass(frozen=True)
class Found:
    """Files of one source, in reading order."""

    filesystem: pafs.FileSystem
    root: str  # the folder that was looked through, or that of a single file
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()  # files that were left out


def find_files(source: str, base: Path, wanted: DataFormat = "auto") -> Found:
    """The files that a source means.

    Args:
        source: a path, a folder, a glob (`**` is any number of folders), or a URI of one.
        base: folder that relative paths start from.
        wanted: which of several files are meant; auto takes all that are tables, or else all that are images.

    Raises:
        DataError: nothing there, not reachable, or nothing of the format.
    """
    filesystem, path, pattern = _place(source, base)
    try:
        if pattern:
            root, paths = _glob(filesystem, path + pattern)
        else:
            info = filesystem.get_file_info(path)
            if info.type == pafs.FileType.NotFound:
                raise DataError(f"{shown(source)} does not exist", near_files(filesystem, path))
            root = str(PurePosixPath(path).parent) if info.is_file else path
            if info.is_file:
                return Found(filesystem, root, (path,))
            paths = _files_below(filesystem, path)
    except OSError as error:
        raise DataError(
            f"{shown(source)} cannot be reached: {one_line(error)}", "check the address and the access to it"
        ) from error
    return _chosen(filesystem, root, paths, wanted, source)


def _chosen(filesystem: pafs.FileSystem, root: str, paths: list[str], wanted: DataFormat, source: str) -> Found:
    kinds = (ENDINGS[wanted],) if wanted != "auto" else (TABLE_ENDINGS, IMAGE_ENDINGS)
    for endings in kinds:
        if chosen := sorted(path for path in paths if path.lower().endswith(endings)):
            break
    else:
        # What was named one by one, or with its format, need not have a known ending.
        named = len(paths) == 1 if wanted == "auto" else wanted != "images"
        chosen = sorted(paths) if named else []
    if not chosen:
        raise DataError(
            f"{shown(source)} holds no file that can be read" + (f" as {wanted}" if wanted != "auto" else ""),
            f"endings read: {', '.join(ending for endings in kinds for ending in endings)}"
            + (f"; found: {listed(_names(paths), 5)}" if paths else ""),
        )
    left_out = sorted(set(paths) - set(chosen))
    notes = [f"{shown(source)}: {len(left_out)} files of other endings are not read: {listed(_names(left_out), 5)}"]
    return Found(filesystem, root, tuple(chosen), tuple(notes if left_out else ()))


def _names(paths: list[str]) -> list[str]:
    return [PurePosixPath(path).name for path in paths]


def format_of(path: str, declared: DataFormat) -> DataFormat:
    """The format of one file: the declared one, or by its ending; CSV where that says nothing."""
    if declared != "auto":
        return declared
    for kind, endings in ENDINGS.items():
        if path.lower().endswith(endings):
            return kind
    return "jsonl" if path.lower().endswith(JSON_ENDINGS) else "csv"


def versions(filesystem: pafs.FileSystem, paths: tuple[str, ...]) -> tuple[FileVersion, ...]:
    """Size and time of each file as they are now."""
    return tuple(
        FileVersion(info.path, info.size or 0, _time(info.mtime_ns)) for info in filesystem.get_file_info(list(paths))
    )


def _time(mtime_ns: int | None) -> str:
    if not mtime_ns or mtime_ns < 0:
        return ""
    seconds, rest = divmod(mtime_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def partition_values(root: str, path: str) -> dict[str, str | None]:
    """Columns that Hive and Spark write as folders, `year=2020/`, below the root."""
    folders = path.removeprefix(root).strip("/").split("/")[:-1]
    pairs = [folder.partition("=") for folder in folders if "=" in folder]
    return {unquote(name): None if value == NO_PARTITION else unquote(value) for name, _, value in pairs}


def _place(source: str, base: Path) -> tuple[pafs.FileSystem, str, str]:
    """File system, path up to the first folder with a glob character, and the rest from there."""
    if "://" not in source:
        local = pafs.LocalFileSystem()
        path = str(base / Path(source).expanduser())
        glob_at = _GLOB.search(path)
        if glob_at is None or local.get_file_info(path).type != pafs.FileType.NotFound:
            return local, path, ""
        cut = path[: glob_at.start()].rfind("/")
        return local, path[:cut], path[cut:]
    location, mark, options = source.partition("?")
    glob_at = _URI_GLOB.search(location)
    cut = location[: glob_at.start()].rfind("/") if glob_at else len(location)
    try:
        filesystem, path = pafs.FileSystem.from_uri(location[:cut] + mark + options)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(
            f"{shown(source)} is not a location that can be read: {shown(one_line(error))}",
            "examples: data/train.csv, s3://bucket/folder, gs://bucket/*.parquet",
        ) from error
    return filesystem, path, location[cut:]


def _glob(filesystem: pafs.FileSystem, pattern: str) -> tuple[str, list[str]]:
    first = _GLOB.search(pattern)
    root = pattern[: first.start() if first else None].rpartition("/")[0]
    parts = pattern.removeprefix(root).strip("/").split("/")
    below = [(path, path.removeprefix(root).strip("/").split("/")) for path in _files_below(filesystem, root)]
    return root, [path for path, names in below if _matches(parts, names)]


def _matches(parts: list[str], names: list[str]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(parts[1:], names[i:]) for i in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], parts[0]) and _matches(parts[1:], names[1:])


def _files_below(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    return [
        info.path
        for info in filesystem.get_file_info(selector)
        if info.is_file and not _is_hidden(info.path.removeprefix(folder))
    ]


def _is_hidden(path: str) -> bool:
    """What writers such as Spark and Delta leave beside their data: _SUCCESS, _delta_log/, .crc."""
    return any(part.startswith(("_", ".")) and "=" not in part for part in path.strip("/").split("/"))


def near_files(filesystem: pafs.FileSystem, path: str) -> str:
    """What stands beside a file that is not there, for a hint."""
    folder = str(PurePosixPath(path).parent)
    names = sorted(info.base_name for info in filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True)))
    return f"{folder} holds {listed(names, 8)}" if names else f"{folder} is empty or missing"
