"""One source on its way from files to a table: its rows, where they came from, and those found bad so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.config import DataConfig, SourceShape
from training.data.quarantine import reasons
from training.data.raw import FileVersion, Origin, bad_rows, no_bad_rows
from training.data.sources.pii import Privacy
from training.errors import DataError
from training.redact import shown

MAX_REASONS = 3  # that an error tells of


@dataclass(frozen=True)
class How:
    """How one source is read."""

    name: str  # the config's key: "source", "test", "join.0"
    uri: str
    shape: SourceShape
    data: DataConfig  # for what all sources share: missing markers, kinds of columns, dates
    privacy: Privacy
    base: Path
    code_path: str = ""

    @property
    def said(self) -> str:
        """The location, fit for messages."""
        return shown(self.uri)

    @property
    def hides(self) -> bool:
        """Whether rows may hold personal data, so that what libraries say of them is not repeated."""
        return bool(self.privacy.columns)

    def key(self, name: str) -> str:
        """A key of this source's shape, as a person writes it: `data.cast`, `data.join.0.cast`."""
        return f"data.{self.name}.{name}" if self.name.startswith("join.") else f"data.{name}"

    def final_name(self, column: str) -> str:
        """A column's name after `rename`."""
        return self.shape.rename.get(column, column)

    def is_dropped(self, column: str) -> bool:
        """Whether a column, by its name in the source, is personal data to leave out."""
        column = column.strip()
        return "drop" in (self.privacy.columns.get(column), self.privacy.columns.get(self.final_name(column)))

    def is_hashed(self, column: str) -> bool:
        """Whether a column, by its name in the source, is personal data to pseudonymise."""
        found = (self.privacy.columns.get(column), self.privacy.columns.get(self.final_name(column)))
        return "hash" in found and not self.is_dropped(column)

    def is_personal(self, name: str) -> bool:
        """Whether a column, by its final name, is personal data."""
        return name in self.privacy.columns or name in map(self.final_name, self.privacy.columns)

    def is_identifier(self, name: str) -> bool:
        """Whether a column, by its final name, tells rows apart: its texts are never taken for numbers or dates."""
        split = self.data.split
        if name == split.by and split.kind != "time":
            return True
        keys = [join.keys for join in self.data.join]
        if self.name.startswith("join."):
            return name in keys[int(self.name.removeprefix("join."))].values()
        return any(name in key for key in keys)

    def stays_text(self, column: str) -> bool:
        """Whether values of a column, by its name in the source, are kept as written: nothing may be guessed."""
        final = self.final_name(column)
        declared = self.data.kind_of(final) in ("categorical", "text", "date", "image")
        return declared or final in self.shape.cast or self.is_hashed(column) or self.is_dropped(column)


@dataclass
class Draft:
    """Rows as read. Bad ones are marked, and left out together at the end."""

    table: pa.Table
    row_ids: np.ndarray  # (N,) number of each row in the source as read
    origin: Origin
    files: tuple[FileVersion, ...] = ()
    untyped: frozenset[str] = frozenset()  # text columns that may hold another type: the source did not say
    notes: list[str] = field(default_factory=list)
    found: list[pa.Table] = field(default_factory=list)  # BAD_ROWS
    dropped: set[str] = field(default_factory=set)  # columns of personal data that were left out
    _is_bad: np.ndarray | None = None  # (N,) bool

    @classmethod
    def whole(cls, table: pa.Table, uri: str, untyped: frozenset[str] = frozenset()) -> "Draft":
        """A table from a single place, every row of it read."""
        return cls(table, np.arange(table.num_rows), Origin((uri,), (0,)), untyped=untyped)

    def reject(self, positions: np.ndarray, column: str, reason: str, values: Sequence[str | None] | None) -> None:
        """Mark rows as bad.

        Args:
            positions: in `table`.
            column: at fault.
            reason: why, in words.
            values: what stood there; None where it must not be told.
        """
        if not len(positions):
            return
        if self._is_bad is None:
            self._is_bad = np.zeros(self.table.num_rows, dtype=bool)
        self._is_bad[positions] = True
        told = values if values is not None else [None] * len(positions)
        self.found.append(bad_rows(self.origin, self.row_ids[positions], column, reason, told))

    def reject_values(self, bad: np.ndarray, column: str, reason: str, hides: bool) -> None:
        """Mark the rows where `bad` (N,) is true, telling what stands in the column there."""
        positions = np.flatnonzero(bad)
        if len(positions):
            values = None if hides else texts_of(self.table.column(column).take(pa.array(positions)))
            self.reject(positions, column, reason, values)

    def replace(self, column: str, values: pa.ChunkedArray | pa.Array) -> None:
        """Put other values in a column's place."""
        self.table = self.table.set_column(self.table.column_names.index(column), column, values)

    def leave_out_bad(self) -> None:
        """Take the rows that were marked as bad out of the table; `bad` still tells of them."""
        if self._is_bad is not None:
            keep = ~self._is_bad
            self.table, self.row_ids, self._is_bad = self.table.filter(pa.array(keep)), self.row_ids[keep], None

    def require_rows(self, said: str) -> None:
        """Raise DataError where every row was bad."""
        if not self.table.num_rows:
            told = [f"{reason} ({count:,} rows)" for reason, count in list(reasons(self.bad).items())[:MAX_REASONS]]
            raise DataError(f"{said}: every row is bad: {'; '.join(told)}", "the reasons say what to put right")

    @property
    def bad(self) -> pa.Table:
        """Bad rows found so far (BAD_ROWS)."""
        return pa.concat_tables([no_bad_rows(), *self.found])


def texts_of(column: pa.ChunkedArray) -> list[str | None]:
    """Values as text, for a person."""
    return [None if value is None else str(value) for value in column.to_pylist()]


def is_text(kind: pa.DataType) -> bool:
    """Whether Arrow holds text in this type."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether Arrow holds numbers in this type; booleans are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def as_mask(values: pa.ChunkedArray) -> np.ndarray:
    """Booleans (N,) of a column of them, false where missing."""
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=bool)
