"""Bad rows are set aside with place and reason, kept in a file, and too many of them stop the run."""

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.checks import Checked, check_rows, examine_rows, rounded_up
from training.data.config import DataConfig
from training.data.raw import BAD_ROWS, Origin, Raw, bad_rows, no_bad_rows
from training.data.sources import read_sources
from training.errors import DataError, StorageError


def config(columns: dict[str, Any] | None = None, max_bad: float = 0.9, **more: Any) -> DataConfig:
    checks = {"columns": columns or {}, "max_bad_fraction": max_bad} | more.pop("checks", {})
    return DataConfig.model_validate({"source": "people.csv", "target": "y", "checks": checks} | more)


def raw(bad: pa.Table | None = None, **columns: Any) -> Raw:
    """Rows of two files, the first of which holds three."""
    num_rows = len(next(iter(columns.values())))
    table = pa.table({"y": [i % 2 for i in range(num_rows)]} | columns)
    origin = Origin(("a.csv", "b.csv"), (0, 3))
    return Raw(table, np.arange(num_rows), origin, no_bad_rows() if bad is None else bad, ())


def found(checked: Checked) -> list[tuple[Any, ...]]:
    return [
        tuple(row[name] for name in ("source", "row", "column", "reason", "value"))
        for row in checked.raw.bad.to_pylist()
    ]


def date(day: int) -> datetime.date:
    return datetime.date(2024, 1, day)


NO_TRUTH = "is neither true nor false (true, yes, y, t, 1; false, no, n, f, 0)"
NO_WHOLE = "is no whole number, or one beyond 64 bits"
NO_DATE = "is no ISO 8601 date (data.columns may declare a date with another format)"
NO_TEXT = "is no text: the column holds integer"
INFINITE = "is infinite, or beyond float32"
TWICE = "stands already in an earlier row"

# Five values, the check, and of each bad one: its row, the reason, the value told.
CASES: list[tuple[list[Any], dict[str, Any], list[tuple[int, str, str | None]]]] = [
    ([1, 5, None, -2, 9], {"min": 0}, [(3, "is below 0", "-2")]),
    ([1.5, math.nan, None, 2.5, 2.0], {"max": 2}, [(3, "is above 2", "2.5")]),
    ([2**60, 1, 2, 3, 4], {"max": 2**59}, [(0, f"is above {2.0**59:.15g}", str(2**60))]),
    (["m", "f", None, "x", "m"], {"allowed": ["m", "f"]}, [(3, "is not m or f", "x")]),
    ([1, 2, 3, None, 1], {"allowed": [1, "2"]}, [(2, "is not 1 or 2", "3")]),
    ([True, None, False, True, True], {"allowed": [True]}, [(2, "is not True", "False")]),
    ([date(1), date(2), None, date(1), date(1)], {"allowed": ["2024-01-01"]}, [(1, "is not 2024-01-01", "2024-01-02")]),
    (
        ["AB1", "AB12", None, "xAB1", "AB1\n"],
        {"pattern": r"[A-Z]+\d"},
        [(row, r"does not match [A-Z]+\d", value) for row, value in ((1, "AB12"), (3, "xAB1"), (4, "AB1\n"))],
    ),
    ([7, 8, 7, None, None], {"unique": True}, [(2, TWICE, "7")]),
    ([[1], [2], [1], None, None], {"unique": True}, [(2, TWICE, "[1]")]),
    (["a", None, "", "b", "c"], {"nullable": False}, [(1, "is missing", None)]),
    ([1.0, math.nan, 2.0, 3.0, None], {"nullable": False}, [(1, "is missing", "nan"), (4, "is missing", None)]),
    (["1", "2.5", "x", None, "+3"], {"type": "number"}, [(2, "is no number", "x")]),
    (
        ["1", "2.5", "x", None, "-3"],
        {"type": "integer"},
        [(1, NO_WHOLE, "2.5"), (2, NO_WHOLE, "x")],
    ),
    (
        [1.0, 2.5, None, math.inf, math.nan],
        {"type": "integer"},
        [(1, "is no whole number", "2.5"), (3, INFINITE, "inf")],
    ),
    (["true", "maybe", "0", None, "False"], {"type": "boolean"}, [(1, NO_TRUTH, "maybe")]),
    ([0, 1, 2, None, 1], {"type": "boolean"}, [(2, "is no truth value", "2")]),
    (
        ["2024-01-01", "2024-02-30", "01.02.2024", None, "2024-01-01 10:00"],
        {"type": "date"},
        [(1, NO_DATE, "2024-02-30"), (2, NO_DATE, "01.02.2024")],
    ),
    ([3, 4, None, None, None], {"type": "text", "allowed": [3, 4]}, [(0, NO_TEXT, "3"), (1, NO_TEXT, "4")]),
    ([0.5, 1e39, -math.inf, None, 1.0], {}, [(1, INFINITE, "1e+39"), (2, INFINITE, "-inf")]),
]


@pytest.mark.parametrize(("values", "check", "expected"), CASES, ids=[str(case[1]) for case in CASES])
def test_each_bad_row_has_its_place_reason_and_value(
    values: list[Any], check: dict[str, Any], expected: list[tuple[int, str, str | None]], tmp_path: Path
) -> None:
    checked = check_rows(raw(x=values), config({"x": check} if check else None), tmp_path / "bad.parquet")
    places = [("a.csv", row) if row < 3 else ("b.csv", row - 3) for row, _, _ in expected]
    assert found(checked) == [
        (*place, "x", reason, value) for place, (_, reason, value) in zip(places, expected, strict=True)
    ]
    kept = [row for row in range(5) if row not in {row for row, _, _ in expected}]
    assert checked.raw.rows.tolist() == kept
    assert checked.raw.table["y"].to_pylist() == [row % 2 for row in kept]
    assert (checked.counts["read"], checked.counts["bad"], checked.counts["kept"]) == (5, 5 - len(kept), len(kept))
    stored = pq.read_table(tmp_path / "bad.parquet")
    assert stored.schema.remove_metadata() == BAD_ROWS
    assert stored.to_pylist() == checked.raw.bad.to_pylist()


def test_texts_become_what_the_type_says_once_the_others_are_gone() -> None:
    checked = check_rows(raw(x=["1", "2.5", "x", None]), config({"x": {"type": "number", "max": 2}}))
    assert checked.raw.table["x"].to_pylist() == [1.0, None]
    assert {row[3] for row in found(checked)} == {"is no number", "is above 2"}
    assert pa.types.is_integer(check_rows(raw(x=["1", "2"]), config({"x": {"type": "integer"}})).raw.table["x"].type)
    assert pa.types.is_boolean(check_rows(raw(x=["1", "true"]), config({"x": {"type": "boolean"}})).raw.table["x"].type)


def test_a_row_with_several_faults_has_a_line_for_each_and_counts_once() -> None:
    checked = check_rows(raw(x=[-1, 2], z=["q", "a"]), config({"x": {"min": 0, "allowed": [2]}, "z": {"pattern": "a"}}))
    assert [row[2:4] for row in found(checked)] == [("x", "is below 0"), ("x", "is not 2"), ("z", "does not match a")]
    assert checked.counts == {"read": 2, "bad": 1, "duplicates": 0, "dropped": 0, "kept": 1}
    assert checked.notes == (
        "1 of 2 rows set aside: x: is below 0 (1), x: is not 2 (1), z: does not match a (1)",
    )  # fmt: skip


def test_rows_that_reading_set_aside_count_too() -> None:
    origin = Origin(("a.csv", "b.csv"), (0, 3))
    earlier = bad_rows(origin, [1], "", "has 3 fields instead of 2", ["1,2,3"])
    read = Raw(pa.table({"x": [1, -5], "y": [0, 1]}), np.array([0, 2]), origin, earlier, ())
    checked = check_rows(read, config({"x": {"min": 0}}))
    assert found(checked) == [
        ("a.csv", 1, "", "has 3 fields instead of 2", "1,2,3"),
        ("a.csv", 2, "x", "is below 0", "-5"),
    ]
    assert (checked.counts["read"], checked.counts["bad"]) == (3, 2)


def test_a_target_must_be_there_and_finite() -> None:
    assert [row[3] for row in found(check_rows(raw(y=["a", None, "b", "a"]), config()))] == ["is missing"]
    reasons = [row[3] for row in found(check_rows(raw(y=[1.5, math.nan, math.inf, 2.0]), config()))]
    assert reasons == ["is missing", "is infinite, or beyond float32"]


def test_ignored_and_categorical_columns_may_be_infinite() -> None:
    values = [1.0, math.inf]
    assert check_rows(raw(x=values), config(max_bad=0, ignore=["x"])).counts["bad"] == 0
    named = DataConfig.model_validate({"source": "s", "target": "y", "columns": {"x": "categorical"}})
    assert check_rows(raw(x=values), named).counts["bad"] == 0


def test_a_type_that_the_column_cannot_have_says_what_it_holds() -> None:
    checked = check_rows(raw(x=[1, 2, None]), config({"x": {"type": "text"}}))
    assert {row[3] for row in found(checked)} == {"is no text: the column holds integer"}


def test_the_next_step_for_a_word_among_numbers_is_told() -> None:
    read = bad_rows(Origin(("a.csv",), (0,)), [0], "z", "is no number, as 99 % of the column are", ["n.a."])
    with pytest.raises(DataError, match=r"or declare data.columns: \{z: categorical\}"):
        check_rows(raw(read, x=[1]), config(max_bad=0))


def test_too_many_bad_rows_stop_the_run_and_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "quarantine.parquet"
    with pytest.raises(DataError) as stopped:
        check_rows(raw(x=[1, -1, -2, 4, None]), config({"x": {"min": 0, "nullable": False}}, max_bad=0.5), path)
    assert stopped.value.message.splitlines() == [
        "3 of 5 rows are bad (0.6), and data.checks.max_bad_fraction allows 0.5",
        "  2  x: is below 0",
        "  1  x: is missing",
        "the first (rows are counted from 0):",
        "  a.csv row 1, x: '-1' is below 0",
        "  a.csv row 2, x: '-2' is below 0",
        "  b.csv row 1, x is missing",
        f"all of them, with every reason: {path}",
    ]
    assert stopped.value.hint == "correct the source; or leave these rows out with data.checks.max_bad_fraction: 0.6"
    assert pq.read_table(path).num_rows == 3


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    assert check_rows(raw(x=[1, -1]), config({"x": {"min": 0}}, max_bad=0.5)).counts["kept"] == 1
    with pytest.raises(DataError, match="1 of 2 rows are bad"):
        check_rows(raw(x=[1, -1]), config({"x": {"min": 0}}, max_bad=0.0))


def test_a_file_of_an_earlier_try_goes_when_no_row_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.parquet"
    with pytest.raises(DataError):
        check_rows(raw(x=[1, -1]), config({"x": {"min": 0}}, max_bad=0), path)
    assert path.exists()
    check_rows(raw(x=[1, 1]), config({"x": {"min": 0}}, max_bad=0), path)
    assert list(tmp_path.iterdir()) == []


def test_a_quarantine_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        check_rows(raw(x=[1, -1]), config({"x": {"min": 0}}), tmp_path / "file" / "quarantine.parquet")


def test_values_of_personal_data_are_told_nowhere(tmp_path: Path) -> None:
    earlier = bad_rows(Origin(("a.csv",), (0,)), [4], "", "has 3 fields instead of 2", ["1,SECRET,3"])
    read = raw(earlier, x=["SECRET-1", "SECRET-2", "SECRET-1", "ok"])
    data = config({"x": {"unique": True, "allowed": ["ok"]}}, pii={"x": "hash"}, max_bad=0)
    with pytest.raises(DataError) as stopped:
        check_rows(read, data, tmp_path / "bad.parquet")
    assert "SECRET" not in str(stopped.value)
    stored = pq.read_table(tmp_path / "bad.parquet")
    assert stored.num_rows == 5
    assert stored["value"].null_count == 5


@pytest.mark.parametrize(
    ("columns", "values", "said"),
    [
        ({"xx": {}}, [1, 2], r"xx is not a column of people.csv \(nearest: x\)"),
        ({"x": {"min": 1}}, ["a", "b"], "x: min and max need numbers, but the column holds text"),
        ({"x": {"pattern": "("}}, ["a", "b"], r"x: pattern \( is not a regular expression: missing \)"),
        ({"x": {"allowed": ["a"]}}, [1, 2], "x: allowed names 'a', but the column holds numbers"),
        ({"x": {"pattern": "a"}}, [[1], [2]], "x: the column holds list<integer>, which has no text"),
    ],
)
def test_checks_that_do_not_fit_the_table_are_refused(columns: dict[str, Any], values: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_rows(raw(x=values), config(columns))


def test_all_misfits_and_all_problems_are_said_at_once() -> None:
    with pytest.raises(DataError) as misfits:
        check_rows(raw(x=["a", "b"], z=[1, 2]), config({"x": {"min": 1}, "z": {"allowed": ["q"]}}))
    assert "x: min and max" in str(misfits.value)
    assert "z: allowed names" in str(misfits.value)
    strict = config({"x": {"min": 0, "max_missing_fraction": 0.1}}, 0, checks={"duplicates": "refuse"})
    with pytest.raises(DataError) as problems:
        check_rows(raw(x=[1, -1, None, None, 1], y=[0, 0, 1, 1, 0]), strict)
    assert "1 of 5 rows are bad" in str(problems.value)
    assert "x: missing in 2 of 5 rows (0.4), 0.1 allowed" in str(problems.value)
    assert "2 of 4 rows are equal to an earlier one" in str(problems.value)
    assert "a.csv" not in problems.value.message.splitlines()[-1].partition(":")[0]


def test_a_column_may_lack_as_many_values_as_allowed() -> None:
    assert check_rows(raw(x=[1, None]), config({"x": {"max_missing_fraction": 0.5}})).counts["kept"] == 2
    with pytest.raises(DataError, match=r"missing in 2 of 3 rows \(0.6667\), 0.5 allowed"):
        check_rows(raw(x=[1.0, None, math.nan]), config({"x": {"max_missing_fraction": 0.5}}))


@pytest.mark.parametrize(("policy", "kept"), [("note", [0, 1, 2, 3]), ("drop", [0, 1])])
def test_duplicates_are_counted_and_dropped_where_asked(policy: str, kept: list[int]) -> None:
    checked = check_rows(raw(x=[1, 2, 1, 2], y=["a", "b", "a", "b"]), config(checks={"duplicates": policy}))
    assert checked.raw.rows.tolist() == kept
    assert checked.counts == {"read": 4, "bad": 0, "duplicates": 2, "dropped": 4 - len(kept), "kept": len(kept)}
    assert checked.notes[0].startswith("2 rows are equal to an earlier one in every column")


def test_duplicates_are_refused_with_their_places() -> None:
    with pytest.raises(DataError, match=r"2 of 4 rows are equal .* a.csv row 2, b.csv row 0"):
        check_rows(raw(x=[1, 2, 1, 2], y=["a", "b", "a", "b"]), config(checks={"duplicates": "refuse"}))


def test_examining_stops_nothing_and_writes_nothing(tmp_path: Path) -> None:
    checked = examine_rows(raw(x=[1, -1]), config({"x": {"min": 0}}, max_bad=0), tmp_path / "bad.parquet")
    assert len(checked.problems) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("share", "up"), [(0.0, 0.0), (0.6, 0.6), (1 / 3, 0.34), (0.001234, 0.0013), (0.999, 1.0)])
def test_shares_are_rounded_up_to_two_digits(share: float, up: float) -> None:
    assert rounded_up(share) == up


def test_bad_rows_of_real_files_are_in_the_quarantine_with_file_and_row(tmp_path: Path) -> None:
    """Mixed types, out of range, not allowed, missing, twice the same id, a ragged row: all at once."""
    ages = [str(20 + i) for i in range(40)]
    lines = [f"{i},{age},{'mf'[i % 2]},{i % 3}" for i, age in enumerate(ages)]
    lines[3], lines[5], lines[8] = "3,old,m,0", "5,-1,m,2", "8,28,q,2"
    lines[21], lines[30], lines[33] = "20,41,f,0", "30,50,m", "33,53,,0"
    (tmp_path / "a.csv").write_text("id,age,sex,y\n" + "\n".join(lines[:20]) + "\n")
    (tmp_path / "b.csv").write_text("id,age,sex,y\n" + "\n".join(lines[20:]) + "\n")
    columns = {
        "id": {"unique": True}, "age": {"min": 0, "type": "integer"},
        "sex": {"allowed": ["m", "f"], "nullable": False},
    }  # fmt: skip
    data = config(columns, max_bad=0.1, source=str(tmp_path / "*.csv"), ignore=["id"])
    path = tmp_path / "run" / "quarantine.parquet"
    with pytest.raises(DataError, match=r"6 of 40 rows are bad \(0.15\)"):
        check_rows(read_sources(data), data, path)
    stored = pq.read_table(path).to_pylist()
    assert [(Path(row["source"]).name, row["row"], row["column"], row["value"]) for row in stored] == [
        ("a.csv", 3, "age", "old"),
        ("a.csv", 5, "age", "-1"),
        ("a.csv", 8, "sex", "q"),
        ("b.csv", 1, "id", "20"),
        ("b.csv", 10, "", "30,50,m"),
        ("b.csv", 13, "sex", None),
    ]
    assert all(row["reason"] for row in stored)
    generous = data.model_copy(update={"checks": data.checks.model_copy(update={"max_bad_fraction": 0.15})})
    assert check_rows(read_sources(generous), generous, path).counts["kept"] == 34
