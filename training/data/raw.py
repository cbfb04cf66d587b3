"""What reading gives: a table, where each of its rows came from, and the rows that could not be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    order: str = ""  # digest of the rows in their order; empty where not taken


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
        of_main = pc.is_in(self.bad.column("source"), pa.array(self.origin.paths, pa.string()))
        return self.table.num_rows + _num_places(self.bad.filter(of_main))

    @property
    def num_bad(self) -> int:
        """Rows set aside, those of joined sources included, each once however many reasons it has."""
        return _num_places(self.bad)


def _num_places(bad: pa.Table) -> int:
    return bad.group_by(["source", "row"]).aggregate([]).num_rows


def no_bad_rows() -> pa.Table:
    """The empty table of bad rows."""
    return BAD_ROWS.empty_table()


def bad_rows(
    origin: Origin, rows: Sequence[int] | np.ndarray, column: str, reason: str, values: Sequence[str | None]
) -> pa.Table:
    """Bad rows with one reason in common.

    Args:
        origin: of the table as read.
        rows: their numbers in it.
        column: the column at fault, or "" for the whole row.
        reason: why, in words.
        values: what stood there, as text; None where it must not be told.
    """
    rows_B = np.asarray(rows, dtype=np.int64)
    file_B = np.searchsorted(origin.first_rows, rows_B, side="right") - 1
    num_bad = len(rows_B)
    return pa.table(
        {
            "source": pa.array(origin.paths, pa.string()).take(pa.array(file_B)),
            "row": rows_B - np.asarray(origin.first_rows, dtype=np.int64)[file_B],
            "column": pa.repeat(column, num_bad),
            "reason": pa.repeat(reason, num_bad),
            "value": [None if value is None else value[:80] for value in values],
        },
        schema=BAD_ROWS,
    )
