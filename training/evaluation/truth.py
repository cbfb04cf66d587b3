"""What a table says is true, in a model's own classes or numbers. Shape letters: N rows, M rows with a truth."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.errors import DataError
from training.package.values import arrow_texts, distinct_texts

MAX_NAMED = 8


@dataclass(frozen=True)
class Truth:
    """The rows whose target is known."""

    rows: np.ndarray  # (M,) row numbers
    target_M: np.ndarray  # class ids int64, or values float64
    num_missing: int


def truth_of(table: pa.Table, target: str, labels: Sequence[str], rename: Mapping[str, str]) -> Truth:
    """Class ids in the order of `labels`, or numbers where there are none. Rows without a target are left out.

    Raises:
        DataError: no such column, no row with a target, classes that the model does not know, or no numbers.
    """
    if target not in table.column_names:
        near = difflib.get_close_matches(target, table.column_names, n=1)
        raise DataError(
            f"the table has no column {target}, which is the target of the model",
            f"--target names it where it is called otherwise{f'; nearest: {near[0]}' if near else ''}; columns: "
            f"{', '.join(table.column_names[:20])}",
        )
    column = table.column(target)
    is_missing = column.is_null(nan_is_null=pa.types.is_floating(column.type)).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(~is_missing)
    if not len(rows):
        raise DataError(f"the target {target} is missing in all {table.num_rows:,} rows; there is nothing to score")
    known = column.filter(pa.array(~is_missing))
    values = _classes(target, known, labels, rename) if labels else _numbers(target, known, rows)
    return Truth(rows, values, int(is_missing.sum()))


def _classes(target: str, known: pa.ChunkedArray, labels: Sequence[str], rename: Mapping[str, str]) -> np.ndarray:
    # Plain text first: a dictionary may hold classes that no row has.
    distinct, index_M = distinct_texts(arrow_texts(known).cast(pa.string()))
    ids = {label: i for i, label in enumerate(labels)}
    renamed = [rename.get(str(text), str(text)) for text in distinct]
    if unknown := [i for i, text in enumerate(renamed) if text not in ids]:
        counts = np.bincount(index_M, minlength=len(renamed))
        unknown.sort(key=lambda i: -counts[i])
        named = ", ".join(f"{renamed[i]!r} ({counts[i]:,} rows)" for i in unknown[:MAX_NAMED])
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        raise DataError(
            f"the target {target} has classes that the model does not know: {named}{more}; it knows "
            f"{', '.join(map(repr, labels[:MAX_NAMED]))}{', ...' if len(labels) > MAX_NAMED else ''}",
            "leave these rows out, or spell the classes as the model does: --rename-label theirs=ours",
        )
    return np.array([ids[text] for text in renamed], dtype=np.int64)[index_M]


def _numbers(target: str, known: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    kind = known.type.value_type if pa.types.is_dictionary(known.type) else known.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        example = str(pc.cast(known, pa.string())[0].as_py())[:40] if not pa.types.is_nested(kind) else str(kind)
        raise DataError(f"the model predicts a number, but the target {target} holds {kind} such as {example!r}")
    values: np.ndarray = known.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"the target {target} is infinite in row {rows[first]} (the first is 0)", "correct the row")
    return values
