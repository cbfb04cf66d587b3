"""Find the bad rows of a table, column by column, before anything is decided about them.

Shape letters: N rows.
"""

import difflib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.data.column_checks import Fault, Judged, infinite_rows, is_number, judge_column, missing_rows
from training.data.config import ColumnCheck, DataConfig
from training.data.raw import Raw, bad_rows
from training.errors import DataError

INFINITE = "is infinite, or beyond float32"


@dataclass(frozen=True)
class Examined:
    """What the checks of all columns found."""

    table: pa.Table  # all rows, columns as their types ask for
    is_bad_N: np.ndarray
    bad: tuple[pa.Table, ...]  # BAD_ROWS each


def examine_columns(raw: Raw, data: DataConfig) -> Examined:
    """Apply `data.checks.columns`, and what every table must be: a target in each row, numbers that are finite.

    Raises:
        DataError: checks that do not fit the table, all of them at once.
    """
    _require_checked_columns(raw, data)
    table, bad, is_bad_N = raw.table, [], np.zeros(raw.table.num_rows, dtype=bool)
    misfits: list[str] = []
    for i, name in enumerate(raw.table.column_names):
        before = raw.table.column(i)
        try:
            judged = _examine_column(name, before, data)
        except DataError as error:
            misfits.append("; ".join(filter(None, [f"{name}: {error.message}", error.hint])))
            continue
        for fault in judged.faults:
            is_bad_N |= fault.is_bad_N
            bad.append(_as_bad_rows(raw, name, before, fault))
        if judged.column.type != before.type:
            table = table.set_column(i, name, judged.column)
    if misfits:
        raise DataError("\n  ".join(["data.checks.columns does not fit the table", *misfits]), "correct these checks")
    return Examined(table, is_bad_N, tuple(bad))


def too_many_missing(table: pa.Table, data: DataConfig) -> list[DataError]:
    """Columns with more missing values than `max_missing_fraction` of their check."""
    lines = []
    for name in [name for name in data.checks.columns if name in table.column_names]:
        allowed = data.checks.columns[name].max_missing_fraction
        num_missing = int(missing_rows(table.column(name)).sum())
        if allowed is not None and num_missing > allowed * table.num_rows:
            share = num_missing / table.num_rows
            lines.append(
                f"{name}: missing in {num_missing:,} of {table.num_rows:,} rows ({share:.4g}), {allowed:g} allowed"
            )
    if not lines:
        return []
    hint = "correct the source, raise max_missing_fraction of these columns in data.checks.columns, or use data.ignore"
    return [DataError("\n  ".join(["columns lack more values than data.checks.columns allows", *lines]), hint)]


def _require_checked_columns(raw: Raw, data: DataConfig) -> None:
    if raw.sources and raw.sources[0].name == "test":
        return  # names are judged once; held-out rows may come without an id that only the main source needs
    have, problems = raw.table.column_names, []
    for name in data.checks.columns:
        if name not in have:
            near = difflib.get_close_matches(name, have, n=1)
            why = " (data.pii leaves it out)" if name in data.pii else f" (nearest: {near[0]})" if near else ""
            problems.append(f"{name} is not a column of {data.source}{why}")
    if problems:
        raise DataError(
            "\n  ".join(["data.checks.columns names columns that are not there", *problems]),
            f"columns: {', '.join(have)}",
        )


def _examine_column(name: str, column: pa.ChunkedArray, data: DataConfig) -> Judged:
    check = data.checks.columns.get(name, ColumnCheck())
    if name in data.targets:
        check = _of_target(check, data)
    judged = judge_column(column, check)
    if name in data.ignore or data.kind_of(name) not in (None, "numeric") or not is_number(judged.column):
        return judged
    infinite = Fault(INFINITE, infinite_rows(judged.column))
    return Judged(judged.column, (*judged.faults, infinite)) if infinite.is_bad_N.any() else judged


def _of_target(check: ColumnCheck, data: DataConfig) -> ColumnCheck:
    """Nothing is learned without a target; a value that `data.rename_labels` reads as an allowed one is allowed."""
    allowed = check.allowed
    if allowed is not None:
        texts = {str(value) for value in allowed}
        allowed = (*allowed, *(value for value, read_as in data.rename_labels.items() if read_as in texts))
    # Of several labels in a text there may be none, and that is how a file of texts writes it.
    may_lack = data.label_separator is not None
    return check.model_copy(update={"nullable": may_lack and check.nullable, "allowed": allowed})


def _as_bad_rows(raw: Raw, name: str, column: pa.ChunkedArray, fault: Fault) -> pa.Table:
    places_B = np.flatnonzero(fault.is_bad_N)
    values = column.take(pa.array(places_B)).to_pylist()
    texts = [None if value is None else str(value) for value in values]
    return bad_rows(raw.origin, raw.rows[places_B], name, fault.reason, texts)
