"""What reading gives: a table, where each of its rows came from, and the rows that could not be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

BAD_ROWS = pa.schema(
    [
        ("source", pa.string()),  # file or location
        ("row", pa.int64()),  # in that file, the first row of data is 0
        ("column", pa.string()),  # empty where the whole row is meant
        ("reason", pa.string()),
        ("value", pa.string()),  # cut; null for personal data
    ]
)


@dataclass(frozen=True)
class FileVersion:
    """One file as it was read."""

    path: str
    size_bytes: int
    modified_at: str  # ISO 8601, UTC; empty where the file system does not say


@dataclass(frozen=True)
class SourceFacts:
    """One source as it was read, for the lineage of a run."""

    name: str  # the config's key: "source", "test", "join.0"
    uri: str
    num_rows: int
    columns: dict[str, str]  # name -> Arrow type
    digest: str  # of the rows in any order
    files: tuple[FileVersion, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where rows came from: files in reading order, and the number of the first row of each in the table as read."""

    paths: tuple[str, ...]
    first_rows: tuple[int, ...]

    def locate(self, row: int) -> tuple[str, int]:
        """File and row within it (the first is 0) of a row of the table as read."""
        file = int(np.searchsorted(self.first_rows, row, side="right")) - 1
        return self.paths[file], row - self.first_rows[file]


@dataclass(frozen=True)
class Raw:
    """Rows as read, renamed, cast, converted and joined; those that could not be are in `bad`, not in `table`."""

    table: pa.Table
    rows: np.ndarray  # (N,) number of each row of `table` in the main source as read, bad rows counted
    origin: Origin
    bad: pa.Table  # BAD_ROWS
    sources: tuple[SourceFacts, ...]
    notes: tuple[str, ...] = field(default=())  # what a person should know: unmatched keys, columns left out

    @property
    def num_read(self) -> int:
        """Rows of the main source, bad ones included."""
        return self.table.num_rows + len(set(self.bad.column("row").to_pylist()))


def no_bad_rows() -> pa.Table:
    """The empty table of bad rows."""
    return BAD_ROWS.empty_table()


def bad_rows(origin: Origin, rows: Sequence[int], column: str, reason: str, values: Sequence[str | None]) -> pa.Table:
    """Bad rows with one reason in common.

    Args:
        origin: of the table as read.
        rows: their numbers in it.
        column: the column at fault, or "" for the whole row.
        reason: why, in words.
        values: what stood there, as text; None where it must not be told.
    """
    places = [origin.locate(int(row)) for row in rows]
    return pa.table(
        {
            "source": [path for path, _ in places],
            "row": [row for _, row in places],
            "column": [column] * len(places),
            "reason": [reason] * len(places),
            "value": [None if value is None else value[:80] for value in values],
        },
        schema=BAD_ROWS,
    )
