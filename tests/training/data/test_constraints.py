"""Checks inferred from a table: short, loadable, and true of it."""

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.checks import check_rows
from training.data.config import DataConfig
from training.data.constraints import checks_yaml, infer_checks
from training.data.raw import Origin, Raw, no_bad_rows
from training.data.table import Schema
from training.errors import DataError
from training.yaml_text import parse_yaml


def inferred(table: pa.Table, target: str = "y", personal: tuple[str, ...] = (), **kinds: Any) -> dict[str, Any]:
    features = {name: kinds.get(name, "numeric") for name in table.column_names if name != target}
    task = "regression" if pa.types.is_floating(table.schema.field(target).type) else "classification"
    checks: dict[str, Any] = infer_checks(table, Schema(features, target, task, ()), personal)
    return checks["checks"]["columns"]


def config_with(columns: dict[str, Any]) -> DataConfig:
    """As a person gets it: printed, pasted under `data:`, loaded."""
    text = f"data:\n  source: s\n  target: y\n{checks_yaml({'checks': {'columns': columns}})}"
    return DataConfig.model_validate(parse_yaml(text, "pasted")["data"])


def raw(table: pa.Table) -> Raw:
    return Raw(table, np.arange(table.num_rows), Origin(("s",), (0,)), no_bad_rows(), ())


def test_each_kind_of_column_gets_what_can_be_said_of_it() -> None:
    table = pa.table(
        {
            "id": [f"r{i}" for i in range(60)],
            "row": range(60),
            "order_no": [i * i for i in range(60)],
            "income": [i * i + 7 for i in range(60)],
            "share": [None, *(i / 60 for i in range(59))],
            "sex": ["m", "f", None] * 20,
            "prose": ["word " * i for i in range(60)],
            "flag": [True, False] * 30,
            "born": [datetime.date(2000, 1, 1)] * 60,
            "empty": pa.nulls(60),
            "y": [0, 1] * 30,
        }
    )
    assert inferred(table, prose="text") == {
        "id": {"type": "text", "unique": True, "nullable": False},
        "row": {"type": "integer", "min": 0, "max": 59, "unique": True, "nullable": False},
        "order_no": {"type": "integer", "min": 0, "max": 59**2, "unique": True, "nullable": False},
        "income": {"type": "integer", "min": 7, "max": 59**2 + 7, "nullable": False},
        "share": {"type": "number", "min": 0.0, "max": 58 / 60, "max_missing_fraction": 0.017},
        "sex": {"type": "text", "allowed": ["f", "m"], "max_missing_fraction": 0.34},
        "prose": {"type": "text", "nullable": False},
        "flag": {"type": "boolean", "nullable": False},
        "born": {"type": "date", "nullable": False},
        "empty": {"max_missing_fraction": 1.0},
        "y": {"type": "integer", "allowed": [0, 1], "nullable": False},
    }


def test_the_yaml_is_read_as_it_was_meant() -> None:
    table = pa.table({"no": ["yes", "3e-3", "2024-01-01", "~"] * 5, "big": [2**60 + 1, 5] * 10, "y": ["0", "1"] * 10})
    columns = inferred(table)
    assert columns["no"]["allowed"] == ["2024-01-01", "3e-3", "yes", "~"]
    pasted = config_with(columns)
    assert pasted.checks.columns["no"].allowed == ("2024-01-01", "3e-3", "yes", "~")
    assert check_rows(raw(table), pasted).counts["bad"] == 0
    assert checks_yaml({"checks": {"columns": {"x": {"min": 0}}}}) == "  checks:\n    columns:\n      x: {min: 0}\n"


def test_values_of_personal_columns_are_not_told() -> None:
    table = pa.table({"name": ["SECRET", "SECRET2"] * 10, "salary": [12345, 54321] * 10, "y": [0, 1] * 10})
    columns = inferred(table, personal=("name", "salary"))
    assert columns["name"] == {"type": "text", "nullable": False}
    assert columns["salary"] == {"type": "integer", "nullable": False}


def test_another_table_is_held_to_them() -> None:
    table = pa.table({"age": [20, 30] * 10, "sex": ["m", "f"] * 10, "y": [0.5, 1.5] * 10})
    pasted = config_with(inferred(table))
    other = pa.table({"age": [21, 99, None, 25], "sex": ["m", "f", "m", "x"], "y": [0.6, 0.7, 0.8, 0.9]})
    with pytest.raises(DataError) as refused:
        check_rows(raw(other), pasted)
    for said in ("3 of 4 rows are bad", "age: is above 30", "age: is missing", "sex: is not f or m"):
        assert said in str(refused.value)


texts = st.text(max_size=8) | st.sampled_from(["no", "1", "1.0", "null", "a: b", "# x", "2024-01-01", "\n", " x ", "é"])
KINDS: list[tuple[pa.DataType, st.SearchStrategy]] = [
    (pa.string(), texts),
    (pa.dictionary(pa.int32(), pa.string()), texts),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int8(), st.integers(-3, 3)),
    (pa.float64(), st.floats(-(2.0**120), 2.0**120) | st.just(float("nan"))),
    (pa.float32(), st.floats(width=32, allow_infinity=False)),
    (pa.decimal128(12, 3), st.decimals(-(10**8), 10**8, places=3, allow_nan=False).map(decimal.Decimal)),
    (pa.bool_(), st.booleans()),
    (pa.date32(), st.dates()),
    (pa.timestamp("us"), st.datetimes()),
    (pa.list_(pa.int8()), st.lists(st.integers(0, 9), max_size=3)),
    (pa.null(), st.none()),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    num_rows = draw(st.integers(1, 45))
    columns = {}
    for name in draw(st.lists(texts, max_size=4, unique=True)):
        kind, values = draw(st.sampled_from(KINDS))
        drawn = draw(st.lists(values | st.none(), min_size=1, max_size=num_rows))
        columns[name] = pa.array((drawn * num_rows)[:num_rows], kind)
    target = draw(st.sampled_from([pa.array(range(num_rows)), pa.array([str(i % 3) for i in range(num_rows)])]))
    return pa.table(columns | {"y": target})


@settings(max_examples=150, deadline=None)
@given(tables())
def test_what_is_printed_loads_and_holds_for_the_same_table(table: pa.Table) -> None:
    pasted = config_with(inferred(table))
    checked = check_rows(raw(table), pasted)
    assert (checked.counts["bad"], checked.counts["kept"]) == (0, table.num_rows)
