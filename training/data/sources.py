"""Read a table from where the experiment says it is."""

import fnmatch
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from training.data.config import DataConfig
from training.errors import DataError

SKLEARN_SETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")
PARQUET_ENDINGS = (".parquet", ".pq")
CSV_ENDINGS = (".csv", ".tsv", ".txt", ".data", ".csv.gz", ".tsv.gz")
GLOB_CHARACTERS = re.compile(r"[*?\[]")


def read_table(data: DataConfig, base: Path | None = None, source: str | None = None) -> pa.Table:
    """The whole source as one table; text is stripped of surrounding spaces.

    Args:
        data: how to read.
        base: folder that relative paths start from; the working directory by default.
        source: another source read the same way (`data.test`); `data.source` by default.

    Raises:
        DataError: nothing there, not readable, empty, or files that do not fit together.
    """
    source = source or data.source
    if source.startswith("sklearn:"):
        return _sklearn_table(source.removeprefix("sklearn:"))
    filesystem, paths = _find_files(source, base or Path.cwd(), data)
    tables = [_read_file(filesystem, path, data) for path in paths]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"the {len(paths)} files of {source} do not fit together: {_one_line(error)}",
            "declare the column's kind in data.columns, or point data.source at files of one shape",
        ) from error
    if table.num_rows == 0:
        raise DataError(f"{source} has column names but no rows", "point data.source at a table with rows")
    return _strip_text(table, data.missing)


def _sklearn_table(name: str) -> pa.Table:
    if name not in SKLEARN_SETS:
        raise DataError(f"there is no bundled set sklearn:{name}", f"there are: {', '.join(SKLEARN_SETS)}")
    from sklearn import datasets  # noqa: PLC0415  costs a second that file sources need not pay

    bunch = getattr(datasets, f"load_{name}")()
    columns = {
        str(feature).replace(" ", "_").replace("(cm)", "cm"): bunch.data[:, i]
        for i, feature in enumerate(bunch.feature_names)
    }
    labels = bunch.get("target_names")
    if labels is not None and labels.dtype.kind in "US":
        columns["target"] = labels[bunch.target]
    else:
        columns["target"] = bunch.target
    return pa.table(columns)


def _find_files(source: str, base: Path, data: DataConfig) -> tuple[pafs.FileSystem, list[str]]:
    filesystem, path = _filesystem(source, base)
    try:
        if GLOB_CHARACTERS.search(path):
            paths = _glob(filesystem, path)
        else:
            info = filesystem.get_file_info(path)
            if info.type == pafs.FileType.NotFound:
                raise DataError(f"{source} does not exist", _near_files(filesystem, path))
            paths = [path] if info.is_file else _files_below(filesystem, path)
    except OSError as error:
        raise DataError(
            f"{source} cannot be reached: {_one_line(error)}", "check the address and the access to it"
        ) from error
    if data.format == "auto" and len(paths) > 1:
        paths = [path for path in paths if path.lower().endswith(PARQUET_ENDINGS + CSV_ENDINGS)]
    if not paths:
        raise DataError(
            f"{source} holds no CSV or Parquet file", f"endings read: {', '.join(PARQUET_ENDINGS + CSV_ENDINGS)}"
        )
    return filesystem, sorted(paths)


def _filesystem(source: str, base: Path) -> tuple[pafs.FileSystem, str]:
    if "://" not in source:
        return pafs.LocalFileSystem(), str(base / Path(source).expanduser())
    glob_at = GLOB_CHARACTERS.search(source)
    # A URI parser takes * and ? for something else, so only the part before them is parsed.
    plain, pattern = (source[: glob_at.start()].rpartition("/")[0], source) if glob_at else (source, "")
    try:
        filesystem, path = pafs.FileSystem.from_uri(plain)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(
            f"{source} is not a location that can be read: {_one_line(error)}",
            "examples: data/train.csv, s3://bucket/folder, gs://bucket/*.parquet",
        ) from error
    return filesystem, f"{path}{pattern[len(plain) :]}" if glob_at else path


def _glob(filesystem: pafs.FileSystem, pattern: str) -> list[str]:
    first = GLOB_CHARACTERS.search(pattern)
    root = str(PurePosixPath(pattern[: first.start() if first else None] + "x").parent)
    depth = pattern.count("/")
    return [
        path for path in _files_below(filesystem, root) if path.count("/") == depth and fnmatch.fnmatch(path, pattern)
    ]


def _files_below(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    hidden = ("_", ".")  # what writers such as Spark leave beside their data
    return [
        info.path
        for info in filesystem.get_file_info(selector)
        if info.is_file and not info.base_name.startswith(hidden)
    ]


def _near_files(filesystem: pafs.FileSystem, path: str) -> str:
    folder = str(PurePosixPath(path).parent)
    names = sorted(info.base_name for info in filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True)))
    return (
        f"{folder} holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        if names
        else f"{folder} is empty or missing"
    )


def _read_file(filesystem: pafs.FileSystem, path: str, data: DataConfig) -> pa.Table:
    is_parquet = data.format == "parquet" or (data.format == "auto" and path.lower().endswith(PARQUET_ENDINGS))
    read: Callable[[pafs.FileSystem, str, DataConfig], pa.Table] = _read_parquet if is_parquet else _read_csv
    try:
        if filesystem.get_file_info(path).size == 0:
            raise DataError(f"{path} is empty (0 bytes)", "point data.source at a file with rows")
        table = read(filesystem, path, data)
        table = table.rename_columns([name.strip() for name in table.column_names])  # fails here if they are not UTF-8
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        kind = "Parquet" if is_parquet else "CSV"
        raise DataError(
            f"{path} cannot be read as {kind}: {_one_line(error)}",
            "data.format, data.delimiter, data.names and data.missing say how a file is read",
        ) from error
    _refuse_repeated_columns(table, path)
    if unreadable := [field.name for field in table.schema if pa.types.is_binary(field.type)]:
        raise DataError(
            f"{path}: the column {', '.join(unreadable)} is not UTF-8 text",
            "save the file as UTF-8, or use data.ignore",
        )
    return table


def _read_parquet(filesystem: pafs.FileSystem, path: str, _: DataConfig) -> pa.Table:
    return pq.read_table(path, filesystem=filesystem)


def _read_csv(filesystem: pafs.FileSystem, path: str, data: DataConfig) -> pa.Table:
    declared = {name: pa.string() if kind == "categorical" else pa.float64() for name, kind in data.columns.items()}
    # A field may carry spaces around the marker, and Arrow compares the raw field.
    missing = [spaced for marker in data.missing for spaced in (marker, f" {marker}", f"{marker} ")]
    with filesystem.open_input_stream(path) as stream:
        return pacsv.read_csv(
            stream,
            read_options=pacsv.ReadOptions(column_names=list(data.names) if data.names else None),
            parse_options=pacsv.ParseOptions(delimiter=data.delimiter),
            convert_options=pacsv.ConvertOptions(
                null_values=missing, strings_can_be_null=True, quoted_strings_can_be_null=True, column_types=declared
            ),
        )


def _refuse_repeated_columns(table: pa.Table, source: str) -> None:
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{source} has the column {', '.join(repeated)} more than once",
            "give distinct names, for a CSV file with data.names",
        )


def _strip_text(table: pa.Table, missing: tuple[str, ...]) -> pa.Table:
    """Text columns without surrounding spaces, markers of missing values as nulls, one encoding of text for all."""
    for i, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            continue
        text = pc.utf8_trim_whitespace(table.column(i).cast(pa.string()))
        marked = pc.is_in(text, value_set=pa.array(missing, pa.string()))
        table = table.set_column(i, field.name, pc.if_else(marked, pa.scalar(None, pa.string()), text))
    return table


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
