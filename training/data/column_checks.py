"""Which values of one column are not what they must be.

Shape letters: N rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.config import CastType, ColumnCheck
from training.data.fingerprint import logical_type, row_hashes
from training.data.sources.cast import cast_values
from training.data.sources.draft import as_mask
from training.errors import DataError

TRUTHS = {"true": True, "false": False, "1": True, "0": False}
TYPE_WORDS: dict[CastType, str] = {
    "integer": "whole number",
    "number": "number",
    "text": "text",
    "boolean": "truth value",
    "date": "date",
}
FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_LISTED = 5


@dataclass(frozen=True)
class Fault:
    """Rows of one column with one thing wrong."""

    reason: str
    is_bad_N: np.ndarray


@dataclass(frozen=True)
class Judged:
    """A column after its checks: as its type asks for, and what is wrong with it."""

    column: pa.ChunkedArray
    faults: tuple[Fault, ...]


def missing_rows(column: pa.ChunkedArray) -> np.ndarray:
    """True (N,) where a value is null or NaN."""
    return as_mask(pc.is_null(column, nan_is_null=True))


def infinite_rows(column: pa.ChunkedArray) -> np.ndarray:
    """True (N,) where a number is infinite, or so large that the model's float32 would make it so."""
    values_N = as_numbers(column)
    return np.abs(values_N) > FLOAT32_MAX  # False for NaN


def first_of_each(hashes_N: np.ndarray) -> np.ndarray:
    """True (N,) for the first row of each hash."""
    first_N = np.zeros(len(hashes_N), dtype=bool)
    first_N[np.unique(hashes_N, return_index=True)[1]] = True
    return first_N


def as_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers (N,) float64, NaN where missing."""
    return column.cast(pa.float64(), safe=False).to_numpy()  # safe: an error for whole numbers beyond 2**53


def is_text(column: pa.ChunkedArray) -> bool:
    """Whether the column holds text, in any of Arrow's encodings."""
    return logical_type(column.type) == "text"


def is_number(column: pa.ChunkedArray) -> bool:
    """Whether the column holds numbers, booleans not counted."""
    return logical_type(column.type).partition("(")[0] in ("integer", "number", "decimal")


def judge_column(column: pa.ChunkedArray, check: ColumnCheck) -> Judged:
    """Apply one column's checks.

    Args:
        column: values as read.
        check: what they must be.

    Raises:
        DataError: the check itself does not fit the column: limits of a text, a pattern that is none.
    """
    faults: list[Fault] = []
    if check.type is not None:
        column, fault = as_type(column, check.type)
        faults.append(fault)
    faults += _limit_faults(column, check)
    if check.allowed is not None:
        faults.append(Fault(_allowed_words(check.allowed), _not_allowed(column, check.allowed)))
    if check.pattern is not None:
        faults.append(Fault(f"does not match {check.pattern}", _unmatched(column, check.pattern)))
    if check.unique:
        faults.append(Fault("stands already in an earlier row", _repeated(column)))
    if not check.nullable:
        # A value that is not of its type is null by now; it has its reason.
        is_missing_N = missing_rows(column)
        faults.append(Fault("is missing", is_missing_N & ~faults[0].is_bad_N if check.type else is_missing_N))
    return Judged(column, tuple(fault for fault in faults if fault.is_bad_N.any()))


def as_type(column: pa.ChunkedArray, kind: CastType) -> tuple[pa.ChunkedArray, Fault]:
    """The column as values of a type, null where a value is not one, and where that is.

    Texts are read; what is no text stays as it is: a number that is to be text has lost its zeros already.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_text(column) and kind != "text" and (read := cast_values(column.cast(pa.string()), kind)) is not None:
        return read.values, Fault(read.reason, ~read.is_good & as_mask(column.is_valid()))
    other = f"is no {TYPE_WORDS[kind]}"
    if not (is_number(column) and kind in ("integer", "boolean")):
        other += f": the column holds {logical_type(column.type)}"
    fault = Fault(other, _IS_OTHER[kind](column) & ~missing_rows(column))
    return (pc.if_else(pa.array(~fault.is_bad_N), column, None) if fault.is_bad_N.any() else column), fault


def _none(column: pa.ChunkedArray) -> np.ndarray:
    return np.zeros(len(column), dtype=bool)


def _all(column: pa.ChunkedArray) -> np.ndarray:
    return np.ones(len(column), dtype=bool)


def _not_text(column: pa.ChunkedArray) -> np.ndarray:
    return _none(column) if is_text(column) else _all(column)


def _not_whole(column: pa.ChunkedArray) -> np.ndarray:
    if not is_number(column):
        return _all(column)
    values_N = as_numbers(column)
    return ~np.isnan(values_N) & (values_N != np.floor(values_N))


def _not_number(column: pa.ChunkedArray) -> np.ndarray:
    return _none(column) if is_number(column) else _all(column)


def _not_truth(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_boolean(column.type):
        return _none(column)
    return ~np.isin(as_numbers(column), (0, 1)) if is_number(column) else _all(column)


def _not_date(column: pa.ChunkedArray) -> np.ndarray:
    return _none(column) if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type) else _all(column)


_IS_OTHER: dict[CastType, Callable[[pa.ChunkedArray], np.ndarray]] = {
    "integer": _not_whole,
    "number": _not_number,
    "text": _not_text,
    "boolean": _not_truth,
    "date": _not_date,
}


def _limit_faults(column: pa.ChunkedArray, check: ColumnCheck) -> Iterator[Fault]:
    if check.min is None and check.max is None:
        return
    if not (is_number(column) or pa.types.is_null(column.type)):
        raise DataError(f"min and max need numbers, but the column holds {logical_type(column.type)}")
    values_N = as_numbers(column)
    if check.min is not None:
        yield Fault(f"is below {check.min:.15g}", values_N < check.min)
    if check.max is not None:
        yield Fault(f"is above {check.max:.15g}", values_N > check.max)


def _allowed_words(allowed: tuple[object, ...]) -> str:
    if len(allowed) > MAX_LISTED:
        return f"is not one of the {len(allowed)} allowed values"
    *others, last = map(str, allowed)
    return f"is not {', '.join(others)} or {last}" if others else f"is not {last}"


def _not_allowed(column: pa.ChunkedArray, allowed: tuple[bool | int | float | str, ...]) -> np.ndarray:
    is_there_N = as_mask(column.is_valid())
    if is_number(column):
        values_N = as_numbers(column)
        return ~np.isin(values_N, [_as_float(value) for value in allowed]) & ~np.isnan(values_N)
    if pa.types.is_boolean(column.type):
        truths = {TRUTHS.get(str(value).lower()) for value in allowed} - {None}
        return is_there_N & ~as_mask(pc.is_in(column, pa.array(list(truths), pa.bool_())))
    texts = pa.array([str(value) for value in allowed], pa.string())
    return is_there_N & ~as_mask(pc.is_in(_texts(column), texts))


def _as_float(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        raise DataError(f"allowed names {value!r}, but the column holds numbers") from None


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"the column holds {logical_type(column.type)}, which has no text to compare") from None


def _unmatched(column: pa.ChunkedArray, pattern: str) -> np.ndarray:
    texts = _texts(column)
    try:
        return as_mask(pc.invert(pc.match_substring_regex(texts, rf"\A(?:{pattern})\z")))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"pattern {pattern} is not a regular expression: {str(error).partition(': ')[2]}",
            "the syntax is RE2's, which knows no look-around and no back-references",
        ) from error


def _repeated(column: pa.ChunkedArray) -> np.ndarray:
    """True (N,) where an equal value stands in an earlier row; missing values are not equal to each other."""
    first_N = first_of_each(row_hashes(pa.table({"": column})))
    return ~first_N & ~missing_rows(column)
