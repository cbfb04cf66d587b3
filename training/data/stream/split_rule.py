"""Which part a row of a stream belongs to: a function of the row alone, never a list of all rows.

Shape letters: N rows, S rows of a sample.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.data.cell_hash import mix
from training.data.config import SplitConfig
from training.data.fingerprint import row_hashes
from training.data.split.divide import Divider, divide_rows
from training.data.split.hash_rows import HashRows, hash_numbers, id_hashes
from training.data.split.strata import missing_places
from training.data.split.time_rows import TimeRows, time_numbers
from training.errors import DataError

TRAIN, VALIDATION, TEST, UNUSED = range(4)
PART_NAMES = ("train", "validation", "test", "unused")


@dataclass(frozen=True)
class SplitRule:
    """The division of a stream. Shares are met as by chance; a division by hash is that of a table in memory."""

    config: SplitConfig
    test_is_separate: bool
    borders: tuple[tuple[float, int], ...] = ()  # by time: where a part begins, rising, and which
    only: int | None = None  # the part of all rows, of a source that is not divided

    def parts(self, rows: pa.Table, row_ids_N: np.ndarray) -> np.ndarray:
        """TRAIN, VALIDATION, TEST or UNUSED of each row (N,) int8.

        Args:
            rows: good rows of the table.
            row_ids_N: their numbers in the whole table.
        """
        if self.only is not None:
            return np.full(len(row_ids_N), self.only, dtype=np.int8)
        if self.config.kind == "time":
            starts, codes = zip(*self.borders, strict=True)
            places_N = np.searchsorted(np.array(starts), self.times(rows, row_ids_N), side="right") - 1
            return np.array(codes, dtype=np.int8)[np.maximum(places_N, 0)]
        divider = HashRows(self._hashes(rows, row_ids_N), self.config.seed)
        return _codes(divider, len(row_ids_N), self.config, self.test_is_separate)

    def draws(self, row_ids_N: np.ndarray, purpose: str) -> np.ndarray:
        """A number (N,) in [0, 1) for each row: whoever takes those below some number takes rows at random."""
        return hash_numbers(mix(row_ids_N.astype(np.uint64)), self.config.seed, purpose)

    def times(self, rows: pa.Table, row_ids_N: np.ndarray) -> np.ndarray:
        """Numbers (N,) that rise with time. Raises DataError for what is not a time, or missing."""
        return time_numbers(self._column(rows, row_ids_N), str(self.config.by))

    def _hashes(self, rows: pa.Table, row_ids_N: np.ndarray) -> np.ndarray:
        if self.config.by is not None:
            return id_hashes(self._column(rows, row_ids_N))
        return row_hashes(rows) if self.config.kind == "hash" else mix(row_ids_N.astype(np.uint64))

    def _column(self, rows: pa.Table, row_ids_N: np.ndarray) -> pa.ChunkedArray:
        column = rows.column(self.config.by)
        if len(places := missing_places(column)):
            raise DataError(
                f"data.split.by {self.config.by} is missing in row {row_ids_N[places[0]]} (the first is 0), so the row "
                "belongs to no part",
                "fill it in, or have such rows left out: data.checks.columns: "
                f"{{{self.config.by}: {{nullable: false}}}} with data.checks.max_bad_fraction",
            )
        return column


def time_borders(times_S: np.ndarray, config: SplitConfig, test_is_separate: bool) -> tuple[tuple[float, int], ...]:
    """Where parts begin in time, from a sample of the times. Raises DataError where it has too few distinct ones."""
    assert config.by is not None
    rising_S = np.sort(times_S)
    codes_S = _codes(TimeRows(rising_S, config.by), len(rising_S), config, test_is_separate)
    begins = np.flatnonzero(np.r_[True, codes_S[1:] != codes_S[:-1]])
    return tuple((rising_S[place].item(), int(codes_S[place])) for place in begins)


def hex_digest(*parts: str) -> str:
    """32 hexadecimal digits of some texts."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _codes(divider: Divider, num_rows: int, config: SplitConfig, test_is_separate: bool) -> np.ndarray:
    parts = divide_rows(divider, num_rows, config, 0 if test_is_separate else None)
    codes_N = np.full(num_rows, UNUSED, dtype=np.int8)
    for code, places in enumerate(parts):
        codes_N[places] = code
    return codes_N
