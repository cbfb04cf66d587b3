"""One file of a source, as read."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass
class Piece:
    """One file as read. Rows that could not be read are counted in `num_rows` and told of in `bad_*`."""

    table: pa.Table
    num_rows: int
    bad_rows: list[int] = field(default_factory=list)  # their numbers, the first row of data is 0
    bad_texts: list[str | None] = field(default_factory=list)  # None where they must not be told
    bad_reasons: list[str] = field(default_factory=list)
    untyped: frozenset[str] = frozenset()  # text columns that may hold another type: the file does not say
    dropped: frozenset[str] = frozenset()  # columns of personal data that were left out

    @classmethod
    def whole(cls, table: pa.Table, dropped: frozenset[str] = frozenset()) -> "Piece":
        """A file of which every row was read."""
        return cls(table, table.num_rows, dropped=dropped)

    @property
    def row_ids(self) -> np.ndarray:
        """Number in the file of each row of the table."""
        rows = np.arange(self.num_rows)
        return np.delete(rows, self.bad_rows) if self.bad_rows else rows
