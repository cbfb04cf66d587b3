"""What a table's columns are today, as checks that a person can paste, so that tomorrow's table is held to it."""

import re
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from training.data.checks import rounded_up
from training.data.column_checks import as_numbers, first_of_each, infinite_rows, is_number, is_text, missing_rows
from training.data.config import CastType
from training.data.fingerprint import logical_type, row_hashes
from training.data.table import Schema
from training.yaml_text import dump_yaml

MAX_ALLOWED = 30  # distinct texts up to which all of them are listed
MIN_REPEATS = 3  # rows a listed text, at the least: else the next rows may bring others
MIN_ID_ROWS = 20  # of fewer rows all values may differ by chance
MAX_ID_CHARS = 64  # longer texts are prose
NAMES_ROWS = re.compile(r"(^|[_\W])(id|key|uuid|guid|number|no|nr|index)$|[a-z]Id$", re.IGNORECASE)


def infer_checks(table: pa.Table, schema: Schema, personal: Collection[str] = ()) -> dict[str, Any]:
    """What every column is: `{"checks": {"columns": ...}}`, as it stands under `data`.

    Args:
        table: rows that are as they should be.
        schema: its features and target.
        personal: columns of which no value may be told.
    """
    columns = zip(table.column_names, table.columns, strict=True)
    return {"checks": {"columns": {name: _column(name, column, schema, name in personal) for name, column in columns}}}


def merge_checks(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Checks that hold wherever one of two holds, for tables that are read by one config; columns as of the first."""
    ours, theirs = first["checks"]["columns"], second["checks"]["columns"]
    merged = {name: _merged(check, theirs[name]) if name in theirs else check for name, check in ours.items()}
    return {"checks": {"columns": merged}}


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    types = {one.get("type"), other.get("type")}
    kind = one.get("type") if len(types) == 1 else "number" if types == {"integer", "number"} else None
    both = one.keys() & other.keys()
    found: dict[str, Any] = {
        "type": kind,
        "min": min(one["min"], other["min"]) if "min" in both else None,
        "max": max(one["max"], other["max"]) if "max" in both else None,
        "allowed": sorted({*one["allowed"], *other["allowed"]}) if "allowed" in both and kind else None,
        "unique": True if "unique" in both else None,
        "max_missing_fraction": max(each.get("max_missing_fraction", 0.0) for each in (one, other)) or None,
        "nullable": False if "nullable" in both else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def checks_yaml(checks: dict[str, Any]) -> str:
    """The checks as YAML, indented to be pasted under `data:`."""
    return "".join(f"  {line}\n" for line in dump_yaml(checks).rstrip("\n").split("\n"))


def _column(name: str, column: pa.ChunkedArray, schema: Schema, is_personal: bool) -> dict[str, Any]:
    check: dict[str, Any] = {}
    if (kind := _type(column)) is not None:
        check["type"] = kind
    is_class = name == schema.target and schema.task == "classification"
    is_prose = schema.features.get(name) == "text"
    if not is_personal and kind in ("integer", "number") and not is_class:
        check |= _limits(column, kind)
    elif (
        not is_personal
        and not is_prose
        and kind in ("integer", "text")
        and (texts := _few(column, is_class)) is not None
    ):
        check["allowed"] = texts
    if name != schema.target and not is_prose and _is_id(name, column):
        check["unique"] = True
    missing = float(missing_rows(column).mean()) if len(column) else 0.0
    return check | ({"max_missing_fraction": rounded_up(missing)} if missing else {"nullable": False})


def _type(column: pa.ChunkedArray) -> CastType | None:
    if is_number(column):
        return "integer" if logical_type(column.type) == "integer" else "number"
    if is_text(column):
        return "text"
    if pa.types.is_boolean(column.type):
        return "boolean"
    return "date" if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type) else None


def _limits(column: pa.ChunkedArray, kind: CastType) -> dict[str, float]:
    numbers = as_numbers(column)
    numbers = numbers[~missing_rows(column) & ~infinite_rows(column)]
    if not len(numbers):
        return {}
    low, high = float(numbers.min()), float(numbers.max())
    return {"min": int(low), "max": int(high)} if kind == "integer" else {"min": low, "max": high}


def _few(column: pa.ChunkedArray, is_class: bool) -> list[Any] | None:
    """All values, where they are few and each is seen often, or where they are the classes to predict."""
    counts = column.drop_null().value_counts()
    if len(counts) == 0 or (not is_class and (len(counts) > MAX_ALLOWED or len(column) < MIN_REPEATS * len(counts))):
        return None
    plain = pc.cast(counts.field("values"), pa.string() if is_text(column) else pa.int64())
    return sorted(plain.to_pylist())


def _is_id(name: str, column: pa.ChunkedArray) -> bool:
    if _type(column) not in ("integer", "text") or column.null_count or len(column) < MIN_ID_ROWS:
        return False
    if not first_of_each(row_hashes(pa.table({"": column}))).all():
        return False
    if is_text(column):
        return bool(pc.max(pc.utf8_length(column.cast(pa.string()))).as_py() <= MAX_ID_CHARS)
    # Whole numbers may all differ by chance: incomes do. Row numbers leave no gaps, and ids say what they are.
    span = pc.max(column).as_py() - pc.min(column).as_py() + 1
    return bool(span == len(column)) or NAMES_ROWS.search(name) is not None
