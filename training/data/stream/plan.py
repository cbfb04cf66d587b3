"""In which order a stream reads its rows. The samples of an epoch are one sequence, a pure function of (seed, epoch).

A stretch is some rows of one row group, read together. The stretches of a table are permuted and cut into windows, and
the samples of a window are permuted. So a place in the sequence is found without reading what comes before it.

Shape letters: K blocks of a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK_ROWS = 64  # rows of a row group that samples are counted by: no stretch is cut finer


@dataclass(frozen=True)
class RowGroup:
    """Where a row group lies."""

    file: int  # number of its file
    number: int  # in that file
    num_rows: int
    first_row: int  # number of its first row in the whole table

    @property
    def num_blocks(self) -> int:
        """Blocks that its samples are counted by; the last one may be smaller."""
        return -(-self.num_rows // BLOCK_ROWS)


@dataclass(frozen=True)
class Stretch:
    """Rows `start` to `stop` of a row group, of which `num_samples` are training rows."""

    group: RowGroup
    start: int
    stop: int
    num_samples: int


@dataclass(frozen=True)
class WindowPlan:
    """Samples `start` to `stop` of an epoch's sequence, and where they are read from, in the order of the files."""

    epoch: int
    number: int
    start: int
    stop: int
    stretches: tuple[Stretch, ...]


def cut_groups(groups: Sequence[RowGroup], counts_K: np.ndarray, max_samples: int) -> tuple[Stretch, ...]:
    """Row groups as stretches of at most so many samples each, or one block more.

    A stretch inside a row group costs the reading of all that stands before it there.

    Args:
        groups: of the whole table.
        counts_K: samples in each of their blocks.
        max_samples: of a stretch.
    """
    stretches: list[Stretch] = []
    first_block = 0
    for group in groups:
        counts = counts_K[first_block : first_block + group.num_blocks].astype(np.int64)
        first_block += group.num_blocks
        num_pieces = max(1, -(-int(counts.sum()) // max_samples))
        piece_of_block = (np.cumsum(counts) - counts) * num_pieces // max(1, int(counts.sum()))
        for piece in range(num_pieces):
            blocks = np.flatnonzero(piece_of_block == piece)
            if num_samples := int(counts[blocks].sum()):
                start, stop = int(blocks[0]) * BLOCK_ROWS, min((int(blocks[-1]) + 1) * BLOCK_ROWS, group.num_rows)
                stretches.append(Stretch(group, start, stop, num_samples))
    return tuple(stretches)


def plan_windows(stretches: Sequence[Stretch], max_samples: int, seed: int, epoch: int) -> tuple[WindowPlan, ...]:
    """The windows of an epoch, in order. One holds more than `max_samples` only where a single stretch does."""
    windows: list[WindowPlan] = []
    taken: list[Stretch] = []
    start = size = 0

    def close() -> None:
        nonlocal start, size
        in_files = sorted(taken, key=lambda stretch: (stretch.group.first_row, stretch.start))
        windows.append(WindowPlan(epoch, len(windows), start, start + size, tuple(in_files)))
        start, size = start + size, 0
        taken.clear()

    for i in np.random.default_rng([seed, epoch]).permutation(len(stretches)):
        if taken and size + stretches[i].num_samples > max_samples:
            close()
        taken.append(stretches[i])
        size += stretches[i].num_samples
    if taken:
        close()
    return tuple(windows)
