"""Keys of two sources made comparable, and matched.

Shape letters: N rows of the main table, M of the joined one.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.sources.draft import is_text

MAX_EXACT = 2.0**53  # whole numbers beyond it are not told apart as floats
NO_KEY = -1


def comparable(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
    """Both columns in one type, or None where their values cannot be equal.

    Widths of numbers do not count, nor do whole numbers held as floats: 7.0 is 7. A number is never equal to a text.
    """
    kinds = {_family(left.type), _family(right.type)} - {"nothing"}
    if len(kinds) > 1 or "" in kinds:
        return None
    family = kinds.pop() if kinds else "text"
    if family == "number":
        is_whole = all(pa.types.is_integer(side.type) or pa.types.is_null(side.type) for side in (left, right))
        kind = pa.int64() if is_whole else _float_kind(left, right)
        return _as_number(left, kind), _as_number(right, kind)
    kind = {"text": pa.string(), "boolean": pa.bool_(), "time": pa.timestamp("us"), "zoned": pa.timestamp("us", "UTC")}
    return left.cast(kind[family]), right.cast(kind[family])


def _family(kind: pa.DataType) -> str:
    if is_text(kind):
        return "text"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "zoned" if getattr(kind, "tz", None) else "time"
    return "nothing" if pa.types.is_null(kind) else ""


def _float_kind(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.DataType:
    """Floats beside whole numbers are compared as whole numbers: a long ID loses its last digits as a float."""
    return pa.int64() if any(pa.types.is_integer(side.type) for side in (left, right)) else pa.float64()


def _as_number(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        if column.type == pa.uint64():
            fits = pc.less(column, pa.scalar(2**63, pa.uint64()))
            column = pc.if_else(fits, column, pa.scalar(None, pa.uint64()))
        return column.cast(kind)
    numbers = column.cast(pa.float64())
    if kind == pa.float64():
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, kind), numbers)
    is_whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), MAX_EXACT))
    return pc.if_else(is_whole, numbers, pa.scalar(None, pa.float64())).cast(kind)


def codes(lefts: list[pa.ChunkedArray], rights: list[pa.ChunkedArray]) -> tuple[np.ndarray, np.ndarray]:
    """Keys of one or more comparable columns as whole numbers: (N,) and (M,), equal where the keys are.

    They are numbered without gaps. Where a part of a key is missing, or a key of the main table is unknown to the
    other, it is NO_KEY.
    """
    left_N, right_M, is_first = np.zeros(len(lefts[0]), np.int64), np.zeros(len(rights[0]), np.int64), True
    for left, right in zip(lefts, rights, strict=True):
        known = pc.unique(right).drop_null()
        here_N, there_M = (_places(column, known) for column in (left, right))
        left_N, right_M = _paired(left_N, here_N, len(known)), _paired(right_M, there_M, len(known))
        if not is_first:  # pairs are numbered anew, so that many columns cannot overflow
            distinct = np.unique(right_M[right_M != NO_KEY])
            left_N, right_M = _renumbered(left_N, distinct), _renumbered(right_M, distinct)
        is_first = False
    return left_N, right_M


def _places(column: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    found = pc.index_in(column, value_set=known, skip_nulls=True)
    return np.asarray(pc.fill_null(found, NO_KEY).to_numpy(), dtype=np.int64)


def _paired(codes_N: np.ndarray, places_N: np.ndarray, num_places: int) -> np.ndarray:
    paired_N = codes_N * max(num_places, 1) + places_N
    paired_N[(codes_N == NO_KEY) | (places_N == NO_KEY)] = NO_KEY
    return paired_N


def _renumbered(codes_N: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    if not len(distinct):
        return np.full(len(codes_N), NO_KEY, np.int64)
    place_N = np.minimum(np.searchsorted(distinct, codes_N), len(distinct) - 1)
    return np.where((distinct[place_N] == codes_N) & (codes_N != NO_KEY), place_N, NO_KEY)


def first_rows(right_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each code the first row that has it, and how many have it. Codes are numbered without gaps."""
    rows = np.flatnonzero(right_M != NO_KEY)
    found = right_M[rows]
    counts = np.bincount(found)
    first = np.zeros(len(counts), np.int64)
    first[found[::-1]] = rows[::-1]  # of several rows the one written last stays, and that is the first
    return first, counts
