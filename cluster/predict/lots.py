"""Rows on their way from a file to their answers: read together, answered together."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

Records = list[dict[str, Any]]


class BadRow(NamedTuple):
    """A row that cannot be read."""

    number: int  # in its file, the first row of data is 0
    reason: str


@dataclass(frozen=True)
class RowFile:
    """One file of rows."""

    filesystem: pafs.FileSystem
    path: str
    folders: Mapping[str, str | None]  # columns that the names of its folders give, as year=2020/

    @contextmanager
    def open(self) -> Iterator[tuple[pa.NativeFile, Callable[[], float]]]:
        """Its content, unpacked where its ending says so, and what tells the share of it that is read by now."""
        codec = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}.get(PurePosixPath(self.path).suffix)
        with self.filesystem.open_input_file(self.path) as raw:
            size = max(1, raw.size())
            content = pa.CompressedInputStream(raw, codec) if codec else raw
            yield content, lambda: min(1.0, raw.tell() / size)

    def with_folders(self, table: pa.Table) -> pa.Table:
        """A table of the file with those columns."""
        for name, value in self.folders.items():
            table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
        return table


@dataclass(frozen=True)
class Lot:
    """Some rows of one file, in its order: of a table, or records as clients send them. N are those that were read."""

    path: str
    numbers: np.ndarray  # (N,) number of each row in its file, rising
    rows: pa.Table | Records
    kept: pa.Table  # (N rows) the columns to copy into the answers
    bad: tuple[BadRow, ...] = ()  # of the same stretch of the file, not among the N
    done: float = 1.0  # share of the place that is read with it, 0 to 1
    images: tuple[str, ...] = ()  # the file of each number, where every row is a file of its own

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle alone would take the whole table along that the rows were cut from."""
        state = {name: _to_ipc(value) if isinstance(value, pa.Table) else value for name, value in vars(self).items()}
        return _lot_of, (state,)

    def said(self, bad: BadRow) -> str:
        """A bad row, for a person."""
        place = self.images[bad.number] if self.images else f"row {bad.number} (the first is 0)"
        return f"{place} {bad.reason}"

    @property
    def num_rows(self) -> int:
        """Bad ones included."""
        return len(self.numbers) + len(self.bad)


def cut(lot: Lot, most: int) -> Iterator[Lot]:
    """The same rows in lots of `most` rows; the bad ones go with the rows that they stand behind."""
    if len(lot.numbers) <= most:
        yield lot
        return
    starts = range(0, len(lot.numbers), most)
    for start in starts:
        stop = start + most
        first = lot.numbers[start] if start else -1
        after = lot.numbers[stop] if stop < len(lot.numbers) else np.inf
        yield Lot(
            lot.path,
            lot.numbers[start:stop],
            lot.rows[start:stop],
            lot.kept[start:stop],
            tuple(bad for bad in lot.bad if first <= bad.number < after),
            lot.done,
            lot.images,
        )


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _lot_of(state: dict[str, Any]) -> Lot:
    return Lot(**{name: _from_ipc(value) if isinstance(value, bytes) else value for name, value in state.items()})


def _from_ipc(raw: bytes) -> pa.Table:
    return pa.ipc.open_stream(raw).read_all()
