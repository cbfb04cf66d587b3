"""Parts by time: the latest rows are held out, and rows of one time stay together.

Shape letters: N rows, B borders.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.data.config import FoldsConfig
from training.data.split.strata import decoded
from training.errors import DataError


@dataclass(frozen=True)
class TimeRows:
    """Divides by time."""

    times_N: np.ndarray  # numbers that rise with time, none missing
    column: str

    def cut(self, rows: np.ndarray, share: float, step: int, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """The earlier rows, with at least `parts_left` distinct times, and the latest ones."""
        (border,) = self._borders(rows, np.array([len(rows) * (1 - share)]), parts_left)
        is_held_N = self.times_N[rows] >= border
        return rows[~is_held_N], rows[is_held_N]

    def fold(self, rows: np.ndarray, folds: FoldsConfig, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows before the fold, with at least `parts_left` distinct times, and rows of it.

        As scikit-learn's `TimeSeriesSplit`: time is cut into one stretch more than there are folds; the earliest is
        only ever trained on, and what comes after a fold is not used.
        """
        size = len(rows) // (folds.count + 1)
        starts = len(rows) - size * np.arange(folds.count, 0, -1)
        borders = self._borders(rows, starts, parts_left)
        times_N = self.times_N[rows]
        is_held_N = times_N >= borders[folds.index]
        kept = rows[~is_held_N]
        if folds.index + 1 < folds.count:
            is_held_N &= times_N < borders[folds.index + 1]
        return kept, rows[is_held_N]

    def _borders(self, rows: np.ndarray, wanted_B: np.ndarray, parts_left: int) -> np.ndarray:
        """First times (B,) of the stretches that begin nearest to these row counts."""
        sorted_N = np.sort(self.times_N[rows])
        changes = np.flatnonzero(sorted_N[1:] != sorted_N[:-1]) + 1
        num_spare = len(changes) - (parts_left - 1) - len(wanted_B)
        if num_spare < 0:
            raise DataError(
                f"data.split.by {self.column} has {len(changes) + 1} distinct times in the {len(rows)} rows to divide, "
                f"too few: rows of one time stay together, and {parts_left + len(wanted_B)} parts are asked for",
                "split by a finer time, ask for fewer folds, or use another data.split.kind",
            )
        return sorted_N[changes[_nearest(changes, wanted_B, parts_left - 1)]]


def _nearest(changes: np.ndarray, wanted_B: np.ndarray, first: int) -> np.ndarray:
    """Places in `changes` (B,), rising, none below `first`, each as near to what is wanted as the others allow."""
    chosen: list[int] = []
    for i, wanted in enumerate(wanted_B):
        after = int(np.searchsorted(changes, wanted))
        near = [place for place in (after - 1, after) if 0 <= place < len(changes)]
        best = min(near, key=lambda place: abs(changes[place] - wanted))
        lowest = chosen[-1] + 1 if chosen else first
        chosen.append(min(max(best, lowest), len(changes) - (len(wanted_B) - i)))
    return np.array(chosen)


def time_numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Numbers (N,) that rise with time. No value may be missing; raises DataError for what is not a time."""
    column = decoded(column)
    kind, is_a = column.type, pa.types
    if is_a.is_timestamp(kind) or is_a.is_date64(kind):
        return column.cast(pa.int64()).to_numpy()
    if is_a.is_date32(kind):
        return column.cast(pa.int32()).to_numpy()
    if is_a.is_integer(kind) or is_a.is_floating(kind):
        return column.to_numpy()
    if is_a.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy()
    if is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        raise DataError(
            f"data.split.by {name} holds text such as {str(column.slice(0, 1).to_pylist())[1:-1][:40]}, which sorts by "
            "letters and not by time",
            f"data.cast: {{{name}: date}} reads it as dates",
        )
    raise DataError(f"data.split.by {name} is of type {kind}, neither dates nor numbers", "name a column of times")
