"""Answers written as they come. A file is whole or not there at all: it gets its name when everything is in it."""

import csv
import io
import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.sources.words import one_line
from training.errors import ConfigError, DataError, StorageError

OutputFormat = Literal["parquet", "arrow", "csv", "jsonl"]
ENDINGS: dict[str, OutputFormat] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
GROUP_ROWS, GROUP_BYTES = 1 << 17, 1 << 26  # of a row group: smaller ones cost readers time, larger ones memory


class Writer(Protocol):
    """Takes answers, lot by lot."""

    def write(self, table: pa.Table) -> None:
        """More rows, with the columns of those before."""

    def close(self) -> None:
        """There are no more."""


def check_output(output: Path, kind: OutputFormat | None, *, force: bool) -> OutputFormat:
    """The format of a file: as given, or by its ending. Raises ConfigError for what cannot be written."""
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder", "give a file, as in --output answers.parquet")
    _require_parent(output)
    if output.exists() and not force:
        raise ConfigError(f"--output {output} is there already", "--force replaces it, once the new one is whole")
    by_ending = kind or ENDINGS.get(output.suffix.lower())
    if by_ending is None:
        raise ConfigError(
            f"--output {output} has no ending that says how to write it", f"endings: {', '.join(ENDINGS)}; or --format"
        )
    return by_ending


def check_folder(folder: Path) -> None:
    """Raise ConfigError for a folder that cannot be made."""
    _require_parent(folder)
    if folder.exists():
        raise ConfigError(f"--output {folder}/ is there already", "give a new folder, or take this one away")


def _require_parent(output: Path) -> None:
    if not output.absolute().parent.is_dir():
        raise ConfigError(
            f"--output {output} cannot be written: there is no folder {output.parent}", "make it, or give another one"
        )


@contextmanager
def file_output(output: Path, kind: OutputFormat, labels: tuple[str, ...]) -> Iterator[Writer]:
    """A file of answers, for the length of a `with` block. It gets its name at the end, unless the block fails.

    Raises:
        StorageError: it cannot be written, as on a full disk.
    """
    partial = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with partial.open("xb") as file:  # closed in here: what waits in its buffer may find no room either
            writer = _writer(file, kind, labels)
            yield writer
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, output)
    except OSError as error:  # of writing: what reads has errors of its own
        raise StorageError(
            f"{output} cannot be written: {error.strerror or error}",
            "nothing was left there; is there room on the disk, and may you write there?",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def stdout_output(kind: OutputFormat, labels: tuple[str, ...]) -> Iterator[Writer]:
    """Answers to stdout as they come."""
    writer = _writer(sys.stdout.buffer, kind, labels)
    yield writer
    writer.close()
    sys.stdout.flush()


def _writer(file: IO[bytes], kind: OutputFormat, labels: tuple[str, ...]) -> Writer:
    match kind:
        case "csv":
            return _Csv(file)
        case "jsonl":
            return _JsonLines(file, labels)
    return _Groups(file, kind)


class _Groups:
    """Parquet or Arrow IPC: rows are gathered until they make a row group."""

    def __init__(self, file: IO[bytes], kind: OutputFormat) -> None:
        self._file, self._kind = file, kind
        self._waiting: list[pa.Table] = []
        self._schema: pa.Schema | None = None  # of the first rows: files may hold a copied column as another type
        self._sink: pq.ParquetWriter | pa.ipc.RecordBatchFileWriter | None = None

    def write(self, table: pa.Table) -> None:
        """More rows."""
        self._schema = self._schema or table.schema
        self._waiting.append(table if table.schema.equals(self._schema) else _cast(table, self._schema))
        if sum(map(len, self._waiting)) >= GROUP_ROWS or sum(part.nbytes for part in self._waiting) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._flush()
        if self._sink is not None:
            self._sink.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        group = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting = []
        if self._sink is None:
            open_sink = pq.ParquetWriter if self._kind == "parquet" else pa.ipc.new_file
            self._sink = open_sink(self._file, group.schema)
        self._sink.write_table(group)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for name, kind in zip(schema.names, schema.types, strict=True):
        try:
            table.column(name).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"--keep {name} is {kind} in the first rows and {table.column(name).type} later: {one_line(error)}",
                "answers as CSV or JSON lines take both; or do not keep it",
            ) from error
    return table.cast(schema)


class _Csv:
    """Numbers with the fewest digits that read back as the same float32."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._has_header = file, False

    def write(self, table: pa.Table) -> None:
        """More rows; before the first of them the names of the columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._has_header:
            writer.writerow(table.column_names)
            self._has_header = True
        writer.writerows(zip(*(_cells(column) for column in table.columns), strict=True))
        self._file.write(text.getvalue().encode())

    def close(self) -> None:
        """Nothing: lines need no end."""


class _JsonLines:
    """As `/predict` answers: probabilities by label, numbers with the fewest digits that read back the same."""

    def __init__(self, file: IO[bytes], labels: tuple[str, ...]) -> None:
        self._file, self._labels = file, labels

    def write(self, table: pa.Table) -> None:
        """More rows."""
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        rows = records_of(table, self._labels)
        self._file.write(b"".join(orjson.dumps(row, option=options, default=str) for row in rows))

    def close(self) -> None:
        """Nothing: lines need no end."""


def records_of(table: pa.Table, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """One record a row, as `/predict` answers them; float32 stays numpy's."""
    names = [f"probability_{label}" for label in labels]
    said = [name for name in table.column_names if name not in set(names)]
    flat = zip(*(_values(table.column(name)) for name in said), strict=True)
    records: list[dict[str, Any]] = [dict(zip(said, row, strict=True)) for row in flat]
    rows = zip(*(_values(table.column(name)) for name in names), strict=True)
    for record, row in zip(records, rows, strict=True) if names else ():
        record["probabilities"] = None if row[0] is None else dict(zip(labels, row, strict=True))
    return records


def _values(column: pa.ChunkedArray) -> list[Any]:
    if column.type != pa.float32():
        return list(column.to_pylist())
    values: list[Any] = list(column.to_numpy())  # numpy's own numbers: Python's would be written with 17 digits
    for row in column.is_null().to_numpy().nonzero()[0] if column.null_count else ():
        values[row] = None
    return values


def _cells(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_list(kind):
        texts = (
            None if value is None else json.dumps(value, ensure_ascii=False, default=str)
            for value in column.to_pylist()
        )
        return list(texts)
    return list((column.cast(pa.string()) if pa.types.is_floating(kind) else column).to_pylist())
