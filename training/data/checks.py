"""Set bad rows aside, count them, and decide whether what is left may be learned from.

`examine_rows` finds and decides; `check_rows` also keeps the bad rows in a file, and stops.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.data.column_checks import first_of_each
from training.data.config import DataConfig
from training.data.examine import examine_columns, too_many_missing
from training.data.fingerprint import row_hashes
from training.data.quarantine import reasons, without_personal_values, write_quarantine
from training.data.raw import Raw
from training.errors import DataError

MAX_SHOWN = 5  # reasons, and bad rows, that a message lists


@dataclass(frozen=True)
class Checked:
    """Rows that passed, and what became of the others."""

    raw: Raw  # `bad` holds the rows of reading and of checking
    counts: dict[str, int]  # read, bad, duplicates, dropped (of the duplicates), kept
    notes: tuple[str, ...]  # what a person should know of it
    problems: tuple[DataError, ...] = ()  # what stops a run


def check_rows(raw: Raw, data: DataConfig, quarantine: Path | None = None) -> Checked:
    """Set bad rows aside, write them down, and stop where there are too many.

    Args:
        raw: rows as read.
        data: what they must be.
        quarantine: Parquet file for the bad rows, written also where the run stops; None for none.

    Raises:
        DataError: more bad rows than `data.checks.max_bad_fraction` allows, too many missing values in a column,
            duplicates where they are refused, or checks that do not fit the table.
        StorageError: the file cannot be written.
    """
    checked = examine_rows(raw, data, quarantine)
    if quarantine is not None:
        write_quarantine(quarantine, checked.raw.bad)
    if checked.problems:
        raise as_one_error(checked.problems)
    return checked


def examine_rows(raw: Raw, data: DataConfig, quarantine: Path | None = None) -> Checked:
    """As `check_rows`, but nothing is written, and what would stop a run is returned.

    Raises DataError for checks that do not fit the table.
    """
    found = examine_columns(raw, data)
    bad = without_personal_values(pa.concat_tables([raw.bad, *found.bad]), data)
    bad = bad.sort_by([("source", "ascending"), ("row", "ascending")])
    kept = _take(replace(raw, table=found.table, bad=bad), ~found.is_bad_N)
    counts = {"read": raw.num_read, "bad": kept.num_bad}
    problems = too_many_missing(raw.table, data)
    notes = [set_aside_note(counts, bad, quarantine)] if counts["bad"] else []
    if counts["bad"] > data.checks.max_bad_fraction * counts["read"]:
        problems.insert(0, too_many_bad(counts, bad, data, quarantine))
    is_first_N = first_of_each(row_hashes(kept.table))
    counts |= {"duplicates": int((~is_first_N).sum()), "dropped": 0}
    if counts["duplicates"]:
        match data.checks.duplicates:
            case "refuse":
                problems.append(_duplicates_refused(kept, is_first_N))
            case "drop":
                counts["dropped"] = counts["duplicates"]
                kept = _take(kept, is_first_N)
        notes.append(_duplicates_note(counts))
    counts["kept"] = kept.table.num_rows
    return Checked(kept, counts, tuple(notes), tuple(problems))


def _take(raw: Raw, is_kept_N: np.ndarray) -> Raw:
    if is_kept_N.all():
        return raw
    return replace(raw, table=raw.table.filter(pa.array(is_kept_N)), rows=raw.rows[is_kept_N])


def as_one_error(problems: Sequence[DataError]) -> DataError:
    """All problems in one error, each with its next step."""
    if len(problems) == 1:
        return problems[0]
    hints = filter(None, (problem.hint for problem in problems))
    return DataError("\n".join(problem.message for problem in problems), "\n".join(hints))


def set_aside_note(counts: dict[str, int], bad: pa.Table, quarantine: Path | None) -> str:
    """How many rows are bad, and why."""
    told = [f"{reason} ({count:,})" for reason, count in reasons(bad).items()]
    more = f", and {len(told) - MAX_SHOWN} more" if len(told) > MAX_SHOWN else ""
    where = f"; they are in {quarantine}" if quarantine is not None else ""
    return f"{counts['bad']:,} of {counts['read']:,} rows set aside: {', '.join(told[:MAX_SHOWN])}{more}{where}"


def too_many_bad(counts: dict[str, int], bad: pa.Table, data: DataConfig, quarantine: Path | None) -> DataError:
    """The error of a run that stops for its bad rows; `counts` has those read and those bad."""
    num_bad, num_read = counts["bad"], counts["read"]
    share, allowed = num_bad / max(num_read, 1), data.checks.max_bad_fraction
    by_reason = reasons(bad)
    width = len(f"{max(by_reason.values()):,}")
    lines = [
        f"{num_bad:,} of {num_read:,} rows are bad ({share:.3g}), and data.checks.max_bad_fraction allows {allowed:g}",
        *(f"  {count:>{width},}  {reason}" for reason, count in list(by_reason.items())[:MAX_SHOWN]),
    ]
    if len(by_reason) > MAX_SHOWN:
        lines.append(f"  and {len(by_reason) - MAX_SHOWN} more")
    lines.append("the first (rows are counted from 0):")
    lines += [f"  {_place(row)}" for row in bad.slice(0, MAX_SHOWN).to_pylist()]
    if quarantine is not None:
        lines.append(f"all of them, with every reason: {quarantine}")
    return DataError("\n".join(lines), _next_steps(bad, data, share))


def _place(row: dict[str, str | int | None]) -> str:
    column = f", {row['column']}" if row["column"] else ""
    value = f": {row['value']!r}" if row["value"] is not None else ""
    return f"{row['source']} row {row['row']}{column}{value} {row['reason']}"


def _next_steps(bad: pa.Table, data: DataConfig, share: float) -> str:
    steps = ["correct the source"]
    if rounded_up(share) < 1:
        steps.append(f"leave these rows out with data.checks.max_bad_fraction: {rounded_up(share)}")
    if any(row["reason"].endswith("instead of 1") for row in bad.slice(0, 100).to_pylist()):
        steps.append("say with data.delimiter what separates the fields")
    of_type = [
        row["column"] for row in bad.group_by(["column", "reason"]).aggregate([]).to_pylist()
        if row["reason"].startswith(("is no ", "is a date in")) and row["column"] not in data.checks.columns
    ]  # fmt: skip
    if of_type:
        steps.append(
            f"add what marks a missing value to data.missing, or declare data.columns: {{{of_type[0]}: categorical}} "
            "if such values are meant"
        )
    return "; or ".join(steps)


def rounded_up(share: float) -> float:
    """A share with two digits, not below it and at most 1."""
    if share <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(share)) - 1)
    digits = 1 - math.floor(math.log10(share))
    rounded = round(math.ceil(share / unit - 1e-9) * unit, digits)
    return min(1.0, rounded if rounded >= share else round(rounded + unit, digits))


def _duplicates_note(counts: dict[str, int]) -> str:
    what = "left out" if counts["dropped"] else "kept"
    return f"{counts['duplicates']:,} rows are equal to an earlier one in every column, and are {what}"


def _duplicates_refused(raw: Raw, is_first_N: np.ndarray) -> DataError:
    places = [raw.origin.locate(int(row)) for row in raw.rows[~is_first_N][:MAX_SHOWN]]
    first = ", ".join(f"{path} row {row}" for path, row in places)
    return DataError(
        f"{int((~is_first_N).sum()):,} of {raw.table.num_rows:,} rows are equal to an earlier one in every column; "
        f"the first (rows are counted from 0): {first}",
        "data.checks.duplicates: drop keeps the first of each, note only counts them",
    )
