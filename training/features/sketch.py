"""Quantiles of more numbers than can be kept. Shape letters: N numbers, Q quantiles.

Source: buffers of falling resolution as in Karnin, Lang, Liberty, Optimal quantile approximation in streams (2016),
with one capacity for all. A full buffer is sorted, and every second number of it goes to the next one, where it counts
twice as much.
"""

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np

from training.features.moments import BLOCK, Moments

CAPACITY = 8192  # numbers of a buffer
RANK_ERROR = 1e-3  # share of the numbers that a quantile may be off by; its deviation is about 0.7 / CAPACITY


class QuantileSketch:
    """Numbers, or so many of them that quantiles are right within RANK_ERROR. Exact up to CAPACITY numbers."""

    def __init__(self, numbers_N: np.ndarray, capacity: int | None = CAPACITY) -> None:
        """`capacity` None keeps every number, without a copy."""
        self._capacity = capacity
        self._buffers = [numbers_N]
        self._ends = _ends(numbers_N) if capacity is not None else numbers_N[:0]
        self._compact()

    def merge(self, other: "QuantileSketch") -> "QuantileSketch":
        """Both together; neither is changed."""
        merged = QuantileSketch(np.concatenate([self._buffers[0], other._buffers[0]]), self._capacity)
        deeper = [merged._buffers, self._buffers, other._buffers]
        depth = max(map(len, deeper))
        columns = [[buffers[level] for buffers in deeper if level < len(buffers)] for level in range(1, depth)]
        merged._buffers[1:] = [np.concatenate(column) for column in columns]
        merged._ends = _ends(np.concatenate([self._ends, other._ends]))
        merged._compact()
        return merged

    @property
    def is_exact(self) -> bool:
        """Whether every number is still there."""
        return len(self._buffers) == 1

    def quantiles(self, shares: Sequence[float]) -> np.ndarray:
        """The numbers (Q,) at these shares, interpolated as `np.quantile` does. There must be a number."""
        if self.is_exact:
            return _exact_quantiles(self._buffers[0], shares)
        return weighted_quantiles(*self.weighted(), shares)

    def moments(self, bend: Callable[[np.ndarray], np.ndarray]) -> Moments:
        """Of the numbers after `bend`."""
        if not self.is_exact:
            numbers_N, weights_N = self.weighted()
            return Moments.weighted(bend(numbers_N), weights_N)
        found, numbers_N = Moments(), self._buffers[0]
        for start in range(0, len(numbers_N), BLOCK):
            found = found.merge(Moments.of(bend(numbers_N[start : start + BLOCK])))
        return found

    def weighted(self) -> tuple[np.ndarray, np.ndarray]:
        """Rising distinct numbers (N,), the smallest and the largest among them, and how many each stands for."""
        if self.is_exact:
            return np.unique(self._buffers[0], return_counts=True)
        buffers = [self._ends, *self._buffers]
        numbers = np.concatenate(buffers)
        each = [1, *(2**level for level in range(len(self._buffers)))]
        weights = np.repeat(each, [len(buffer) for buffer in buffers])
        distinct, index = np.unique(numbers, return_inverse=True)
        return distinct, np.bincount(index, weights=weights)

    def _compact(self) -> None:
        if self._capacity is None:
            return
        level = 0
        while level < len(self._buffers):
            if len(self._buffers[level]) > self._capacity:
                kept, passed_on = _halve(np.sort(self._buffers[level]))
                self._buffers[level] = kept
                if level + 1 == len(self._buffers):
                    self._buffers.append(passed_on)
                else:
                    self._buffers[level + 1] = np.concatenate([self._buffers[level + 1], passed_on])
            level += 1


def _ends(numbers_N: np.ndarray) -> np.ndarray:
    return np.array([numbers_N.min(), numbers_N.max()], numbers_N.dtype) if len(numbers_N) else numbers_N


def weighted_quantiles(numbers_N: np.ndarray, weights_N: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """As `np.quantile` (Q,) of rising numbers, each repeated by its whole weight."""
    ends_N = np.cumsum(weights_N)
    place_Q = np.asarray(shares, dtype=np.float64) * (ends_N[-1] - 1)
    below_Q = np.floor(place_Q)
    low_Q, high_Q = (
        numbers_N[np.searchsorted(ends_N, np.minimum(rank_Q, ends_N[-1] - 1), side="right")].astype(np.float64)
        for rank_Q in (below_Q, below_Q + 1)
    )
    return low_Q + (high_Q - low_Q) * (place_Q - below_Q)


def _halve(sorted_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What stays, one number of an odd count, and every second one of the others.

    Which of two is taken is drawn by the content: always the first would put every quantile too low.
    """
    even = len(sorted_N) // 2 * 2
    offset = crc32(sorted_N[:: max(1, len(sorted_N) // 64)].tobytes()) & 1
    return sorted_N[even:].copy(), sorted_N[offset:even:2].copy()


def _exact_quantiles(numbers_N: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    place_Q = np.asarray(shares, dtype=np.float64) * (len(numbers_N) - 1)
    below_Q = np.floor(place_Q).astype(np.int64)
    above_Q = np.minimum(below_Q + 1, len(numbers_N) - 1)
    if len(below_Q) == 1:  # a median needs no whole sort
        partly = np.partition(numbers_N, below_Q[0])
        ends = partly[below_Q[0]], partly[above_Q[0] :].min()
    else:
        in_order = np.sort(numbers_N)
        ends = in_order[below_Q], in_order[above_Q]
    low_Q, high_Q = (np.asarray(end, dtype=np.float64) for end in ends)
    return low_Q + (high_Q - low_Q) * (place_Q - below_Q)
