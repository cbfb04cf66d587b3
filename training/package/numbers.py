"""Columns of numbers as a model takes them. Shape letters: N rows, F columns of numbers, I indicators."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.package.fitted import NumericTransform

# Numbers further than this many scales from the mean count as just that far. Int8 takes one scale for a whole row,
# so one absurd value would drown the others in it; and one near float32's end would overflow to NaN.
MAX_SCALES = 20.0

LARGEST = float(np.finfo(np.float32).max)


class NumericEncoder:
    """Columns of `NumericTransform`, ready to apply."""

    def __init__(self, columns: Sequence[NumericTransform]) -> None:
        self._names = [column.name for column in columns]
        self._fill_F = _row([column.fill for column in columns])
        self._mean_F = _row([column.mean for column in columns])
        self._scale_F = _row([column.scale for column in columns])
        bounds = [_bounds(column) for column in columns]
        self._low_F, self._high_F = _row([low for low, _ in bounds]), _row([high for _, high in bounds])
        self._indicators_I = np.array([i for i, column in enumerate(columns) if column.indicator], dtype=np.intp)
        self._bent = [(i, _Bend(column)) for i, column in enumerate(columns) if _is_bent(column)]
        self.width = len(columns) + len(self._indicators_I)

    def columns(self, inputs: Any) -> list[np.ndarray]:
        """The raw numbers of each column (N,)."""
        return [np.asarray(inputs[name]) for name in self._names]

    def into(self, out_NF: np.ndarray, columns: Sequence[np.ndarray], start: int, stop: int) -> None:
        """Write rows `start` to `stop` into the first `width` columns of `out_NF`, which has just these rows.

        Rows come in blocks because every step then finds its numbers in the cache.
        """
        num_columns = len(columns)
        block_NF = out_NF[:, :num_columns]
        for i, column_N in enumerate(columns):
            block_NF[:, i] = column_N[start:stop]  # float32 before any arithmetic, as training saw it
        missing_NF = np.isnan(block_NF)
        np.copyto(block_NF, self._fill_F, where=missing_NF)
        for i, bend in self._bent:
            block_NF[:, i] = bend(block_NF[:, i])
        np.maximum(block_NF, self._low_F, out=block_NF)
        np.minimum(block_NF, self._high_F, out=block_NF)
        np.subtract(block_NF, self._mean_F, out=block_NF)
        np.divide(block_NF, self._scale_F, out=block_NF)
        if len(self._indicators_I):
            out_NF[:, num_columns : self.width] = missing_NF[:, self._indicators_I]


class _Bend:
    """What is not linear in a column: clipping, the logarithm, the rank."""

    def __init__(self, column: NumericTransform) -> None:
        self._clip, self._log = column.clip, column.log
        self._knots_K, self._deviates_K = np.array(column.knots), np.array(column.deviates)

    def __call__(self, values_N: np.ndarray) -> np.ndarray:
        """In float64, so that no rounding depends on how many rows there are."""
        bent_N = values_N.astype(np.float64)
        if self._clip is not None:
            bent_N = np.minimum(np.maximum(bent_N, self._clip[0]), self._clip[1])
        if self._log:
            bent_N = signed_log(bent_N)
        return np.interp(bent_N, self._knots_K, self._deviates_K) if len(self._knots_K) else bent_N


def signed_log(values_N: np.ndarray) -> np.ndarray:
    """sign(x) * log(1 + |x|)."""
    logs_N: np.ndarray = np.copysign(np.log1p(np.abs(values_N)), values_N)
    return logs_N


def _is_bent(column: NumericTransform) -> bool:
    return column.clip is not None or column.log or bool(column.knots)


def _bounds(column: NumericTransform) -> tuple[float, float]:
    low, high = column.bounds or (
        column.mean - MAX_SCALES * column.scale,
        column.mean + MAX_SCALES * column.scale,
    )
    # No difference from the mean may leave float32: its quotient would be infinite.
    return max(low, -LARGEST, column.mean - LARGEST), min(high, LARGEST, column.mean + LARGEST)


def _row(numbers: Sequence[float]) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)
