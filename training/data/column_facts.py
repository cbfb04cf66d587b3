"""What stands in a column, in a line: kind, gaps, range or most frequent values.

Shape letters: N rows.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.column_checks import as_numbers, is_number, is_text, missing_rows
from training.data.column_config import ColumnKind
from training.data.fingerprint import logical_type, row_hashes

NUM_TOP = 3
MAX_VALUE_CHARS = 28
Use = Literal["target", "feature", "split", "ignored"]


@dataclass(frozen=True)
class ColumnFacts:
    """One column of the checked table."""

    name: str
    use: Use
    kind: ColumnKind | None  # of a feature
    type: str  # integer, number, text, boolean, date or Arrow's name
    num_missing: int
    missing_fraction: float
    num_distinct: int
    is_personal: bool  # no value of it is told
    range: tuple[Any, Any, Any] | None = None  # smallest, median, largest: of numbers and times
    top: tuple[tuple[str, float], ...] = ()  # the most frequent values and their share of all rows
    text_chars: tuple[int, int, int] | None = None  # the same of the lengths, of free text


def column_facts(
    name: str, column: pa.ChunkedArray, use: Use, kind: ColumnKind | None, is_personal: bool = False
) -> ColumnFacts:
    """Facts of one column.

    Args:
        name: of the column.
        column: its values.
        use: what it is for.
        kind: of a feature.
        is_personal: values must not be told.
    """
    is_missing_N = missing_rows(column)
    num_missing, known = int(is_missing_N.sum()), column.filter(pa.array(~is_missing_N))
    counted: dict[str, Any] = {}
    if not is_personal and len(known):
        counted = _values(known, len(column), kind)
    return ColumnFacts(
        name, use, kind, logical_type(column.type), num_missing, num_missing / max(len(column), 1),
        len(np.unique(row_hashes(pa.table({"": known})))), is_personal, **counted,
    )  # fmt: skip


def _values(known: pa.ChunkedArray, num_rows: int, kind: ColumnKind | None) -> dict[str, Any]:
    if kind == "text" and is_text(known):
        low, middle, high = _quartiles(pc.utf8_length(known.cast(pa.string())).to_numpy())
        return {"text_chars": (int(low), int(middle), int(high))}
    if is_number(known) and kind != "categorical":
        numbers = _quartiles(as_numbers(known))
        return {"range": tuple(map(int, numbers)) if logical_type(known.type) == "integer" else numbers}
    if pa.types.is_date(known.type) or pa.types.is_timestamp(known.type):
        return {"range": _times(known)}
    if is_number(known) or is_text(known) or pa.types.is_boolean(known.type):
        return {"top": _top(known, num_rows)}
    return {}


def _quartiles(numbers_N: np.ndarray) -> tuple[float, float, float]:
    # The lower of two middle values: one that stands in the column.
    return float(numbers_N.min()), float(np.quantile(numbers_N, 0.5, method="lower")), float(numbers_N.max())


def _times(known: pa.ChunkedArray) -> tuple[str, str, str]:
    middle = known.take(pc.sort_indices(known)[(len(known) - 1) // 2 :][:1])[0]
    ends = pc.min_max(known).as_py()
    low, median, high = (str(value) for value in (ends["min"], middle.as_py(), ends["max"]))
    return low, median, high


def _top(known: pa.ChunkedArray, num_rows: int) -> tuple[tuple[str, float], ...]:
    plain = known.cast(known.type.value_type) if pa.types.is_dictionary(known.type) else known
    counts = plain.value_counts()
    order = np.argsort(-counts.field("counts").to_numpy(), kind="stable")[:NUM_TOP]
    return tuple(
        (_cut(str(found["values"])), found["counts"] / num_rows) for found in counts.take(pa.array(order)).to_pylist()
    )


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= MAX_VALUE_CHARS else f"{plain[: MAX_VALUE_CHARS - 1]}…"
