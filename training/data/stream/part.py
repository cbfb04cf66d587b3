"""The training rows of a stream: where they are and how they are decoded, not the rows themselves.

Shape letters: K blocks of a table, N samples of a window, M samples of a piece of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pyarrow.parquet as pq

from training.data.stream.files import StreamTable
from training.data.stream.plan import BLOCK_ROWS, Stretch, WindowPlan, cut_groups, plan_windows
from training.data.stream.rows import Encoding, TrainingRows
from training.data.stream.windows import Window
from training.errors import DataError

STRETCHES_A_WINDOW = 2  # at least, so that a window mixes rows from several places of a table in few row groups


@dataclass(frozen=True)
class StreamPart:
    """Training rows that are read window by window. Small: it travels to whoever reads."""

    rows: TrainingRows
    encoding: Encoding
    counts_K: np.ndarray  # training rows in each block of each row group
    sample_bytes: int  # of a decoded sample
    window_bytes: int
    class_counts: tuple[int, ...] = ()  # training rows of each class, in the order of the labels

    def __len__(self) -> int:
        return int(self.counts_K.sum(dtype=np.int64))

    @property
    def table(self) -> StreamTable:
        """The files."""
        return self.rows.reader.table

    def with_windows_of(self, window_bytes: int) -> "StreamPart":
        """The same rows in windows of another size, which come in another order."""
        return replace(self, window_bytes=window_bytes)

    @property
    def largest_window_bytes(self) -> int:
        """What a window takes at most, unless a global batch takes more."""
        return max(self.window_bytes, self.sample_bytes * STRETCHES_A_WINDOW * BLOCK_ROWS)

    def plan_windows(self, seed: int, epoch: int, min_samples: int) -> tuple[WindowPlan, ...]:
        """The windows of an epoch: a pure function of its arguments.

        Args:
            seed: of the order.
            epoch: epochs done before.
            min_samples: that each window but the last shall hold, if that is more than `window_bytes` do.
        """
        least = STRETCHES_A_WINDOW * (min_samples + BLOCK_ROWS)  # a window is closed before it is full
        max_samples = max(self.window_bytes // self.sample_bytes, least)
        stretches = cut_groups(self.table.groups, self.counts_K, max_samples // STRETCHES_A_WINDOW)
        return plan_windows(stretches, max_samples, seed, epoch)

    def decode(self, plan: WindowPlan) -> Window:
        """Read a window's training rows. Raises DataError where they are not those that were counted."""
        num_samples = plan.stop - plan.start
        window: Window | None = None
        at = 0
        for file, stretches in groupby(plan.stretches, key=lambda stretch: stretch.group.file):
            with self.table.open(file) as opened:
                for stretch in stretches:
                    for piece in self._samples(opened, stretch):
                        window = window or _empty_like(piece, num_samples)
                        at = _copy(piece, window, at)
        if window is None or at != num_samples:
            paths = sorted({self.table.files[stretch.group.file].path for stretch in plan.stretches})
            raise DataError(
                f"{', '.join(paths)}: {at} training rows where {num_samples} were counted; the values changed",
                "leave the files alone while a run reads them; start the run again when they are complete",
            )
        return window

    def _samples(self, opened: pq.ParquetFile, stretch: Stretch) -> Iterator[Window]:
        for rows, row_ids_M in self.rows.read(opened, stretch.group, stretch.start, stretch.stop):
            if len(row_ids_M):
                tensors, target_M = self.encoding(rows)
                yield Window(tensors, target_M, row_ids_M)


def _empty_like(piece: Window, num_samples: int) -> Window:
    def empty(array: np.ndarray) -> np.ndarray:
        return np.empty((num_samples, *array.shape[1:]), array.dtype)

    tensors = {name: empty(array) for name, array in piece.tensors.items()}
    return Window(tensors, empty(piece.target), empty(piece.row_ids))


def _copy(piece: Window, window: Window, at: int) -> int:
    """Put a piece's rows into a window; gives where the next piece begins. What does not fit is left out."""
    stop = at + len(piece.row_ids)
    if stop <= len(window.row_ids):
        for source, target in zip(_arrays(piece), _arrays(window), strict=True):
            target[at:stop] = source
    return stop


def _arrays(window: Window) -> Iterator[np.ndarray]:
    tensors: Mapping[str, np.ndarray] = window.tensors
    yield from (*tensors.values(), window.target, window.row_ids)
