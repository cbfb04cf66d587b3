"""Casts that the config declares. What cannot be cast is a bad row, never a null that nobody asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.config import CastType
from training.data.sources.as_dates import read_dates
from training.data.sources.as_numbers import number_mask, to_numbers, whole_mask
from training.data.sources.draft import Draft, How, as_mask, is_number, is_text
from training.data.sources.words import require_columns
from training.errors import DataError

MAX_EXACT = 2.0**53  # whole numbers beyond it are not told apart as floats
TRUE_TEXTS = ("true", "yes", "y", "t", "1")
FALSE_TEXTS = ("false", "no", "n", "f", "0")


@dataclass(frozen=True)
class Cast:
    """A column in its new type, null where it could not be, and where that is."""

    values: pa.ChunkedArray
    is_good: np.ndarray  # (N,) also true where the value was missing
    reason: str  # why the others are bad


def cast_columns(draft: Draft, how: How) -> None:
    """Read columns as the types that `cast` names; rows whose value cannot be are bad.

    Raises:
        DataError: a column that is not there, or a type from which no cast leads to the other.
    """
    require_columns(how.key("cast"), how.shape.cast, draft.table.column_names, how.said, how.hides)
    for name, target in how.shape.cast.items():
        column = draft.table.column(name)
        if pa.types.is_null(column.type):
            continue
        done = cast_values(column, target)
        if done is None:
            raise DataError(
                f"{how.said}: {how.key('cast')}.{name} is {target}, but the column holds {column.type}",
                "take the cast away, or change the column where it comes from",
            )
        is_bad = ~done.is_good & as_mask(column.is_valid())
        draft.reject_values(is_bad, name, done.reason, hides=how.hides and name in draft.untyped)
        draft.replace(name, done.values)


def cast_values(column: pa.ChunkedArray, target: CastType) -> Cast | None:
    """A column as another type, as far as it can be; None where no cast leads from one type to the other."""
    return _CASTS[target](column)


def _to_number(column: pa.ChunkedArray) -> Cast | None:
    if is_text(column.type):
        is_good = number_mask(column)
        return Cast(_as_float(to_numbers(column, is_good)), is_good, "is no number")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return Cast(_as_float(column), as_mask(column.is_valid()), "") if is_number(column.type) else None


def _as_float(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.float64(), safe=False)  # whole numbers beyond 2**53 are rounded, not refused


def _to_integer(column: pa.ChunkedArray) -> Cast | None:
    if pa.types.is_boolean(column.type) or (pa.types.is_integer(column.type) and column.type != pa.uint64()):
        return Cast(column.cast(pa.int64()), as_mask(column.is_valid()), "")
    numbers = _to_number(column)
    if numbers is None:
        return None
    whole = pc.and_(pc.equal(numbers.values, pc.floor(numbers.values)), pc.less(pc.abs(numbers.values), MAX_EXACT))
    is_good = numbers.is_good & as_mask(whole)
    values = pc.if_else(pa.array(is_good), numbers.values, pa.scalar(None, pa.float64())).cast(pa.int64())
    if is_text(column.type):
        exact = to_numbers(column, whole_mask(column))
        if pa.types.is_integer(exact.type):  # also beyond what floats tell apart
            values, is_good = pc.coalesce(exact, values), is_good | as_mask(exact.is_valid())
    return Cast(values, is_good, "is no whole number, or one beyond 64 bits")


def _to_text(column: pa.ChunkedArray) -> Cast | None:
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None
    return Cast(column.cast(pa.string()), as_mask(column.is_valid()), "")


def _to_boolean(column: pa.ChunkedArray) -> Cast | None:
    if pa.types.is_boolean(column.type):
        return Cast(column, as_mask(column.is_valid()), "")
    if is_text(column.type):
        folded = pc.utf8_lower(column)
        is_true, is_false = (as_mask(pc.is_in(folded, pa.array(texts))) for texts in (TRUE_TEXTS, FALSE_TEXTS))
    elif is_number(column.type):
        numbers = _as_float(column)
        is_true, is_false = as_mask(pc.equal(numbers, 1.0)), as_mask(pc.equal(numbers, 0.0))
    else:
        return None
    is_good = is_true | is_false
    values = pa.chunked_array([pa.array(is_true, mask=~is_good)])
    return Cast(values, is_good, "is neither true nor false (true, yes, y, t, 1; false, no, n, f, 0)")


def _to_date(column: pa.ChunkedArray) -> Cast | None:
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return Cast(column, as_mask(column.is_valid()), "")
    if not is_text(column.type):
        return None
    dates, is_good = read_dates(column, None)
    return Cast(dates, is_good, "is no ISO 8601 date (data.columns may declare a date with another format)")


_CASTS: dict[CastType, Callable[[pa.ChunkedArray], Cast | None]] = {
    "number": _to_number,
    "integer": _to_integer,
    "text": _to_text,
    "boolean": _to_boolean,
    "date": _to_date,
}
