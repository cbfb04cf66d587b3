"""Text to numbers, without a loop over rows: which texts are numbers is found first, then those are read."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.sources.draft import as_mask

_NUMBER = r"^(?i:[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan))$"
_WHOLE = r"^[+-]?[0-9]+$"


def number_mask(text: pa.ChunkedArray) -> np.ndarray:
    """Which texts (N,) are numbers; missing ones are none."""
    return as_mask(pc.match_substring_regex(text, _NUMBER))


def whole_mask(text: pa.ChunkedArray) -> np.ndarray:
    """Which texts (N,) are written as whole numbers."""
    return as_mask(pc.match_substring_regex(text, _WHOLE))


def to_numbers(text: pa.ChunkedArray, is_good: np.ndarray) -> pa.ChunkedArray:
    """Numbers (N,) where `is_good`, null elsewhere: int64 where all are whole and fit, else float64."""
    good = pc.if_else(pa.array(is_good), text, pa.scalar(None, pa.string()))
    try:
        return _unsigned(good).cast(pa.int64())
    except pa.ArrowInvalid:
        return good.cast(pa.float64())


def _unsigned(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(text, r"^\+", "")
