"""Columns that hold two kinds of values: the share decides which is the mistake."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError


def column(folder: Path, values: list[str], **more: object) -> Path:
    path = folder / "t.csv"
    path.write_text("a,y\n" + "".join(f"{value},u\n" for value in values))
    return path


@pytest.mark.parametrize(("at", "num_rows"), [(0, 40), (25, 40), (299_999, 300_000)], ids=["first", "later", "block 2"])
def test_a_text_among_numbers_is_a_bad_row_wherever_it_stands(tmp_path: Path, at: int, num_rows: int) -> None:
    values = ["1", "2"] * (num_rows // 2)
    values[at] = "unknown"
    raw = read_sources(config(column(tmp_path, values)))
    assert raw.table.schema.field("a").type == pa.int64()
    assert raw.table.num_rows == num_rows - 1
    ((_, row, name, reason, value),) = bad(raw)
    assert (row, name, value) == (at, "a", "unknown")
    assert reason.startswith(f"is no number, as {1 - 1 / num_rows:.2%} of the column are")
    assert at not in raw.rows.tolist()


@pytest.mark.parametrize(("num_texts", "kind"), [(10, "int64"), (11, "string")])
def test_nine_in_ten_is_where_numbers_end_and_text_begins(tmp_path: Path, num_texts: int, kind: str) -> None:
    values = ["x"] * num_texts + ["7"] * (100 - num_texts) + [""] * 50
    raw = read_sources(config(column(tmp_path, values)))
    assert str(raw.table.schema.field("a").type) == kind
    assert raw.bad.num_rows == (num_texts if kind == "int64" else 0)


def test_a_text_at_every_tenth_row_is_found_too(tmp_path: Path) -> None:
    """Every n-th row of a sample would be in step with it."""
    raw = read_sources(config(column(tmp_path, (["x"] + ["1.5"] * 9) * 2000)))
    assert raw.table.schema.field("a").type == pa.float64()
    assert raw.bad.num_rows == 2000


@pytest.mark.parametrize("text", ["+5", ".5", "5.", "1e3", "inf", "-Infinity", "NaN2", "1_000", "0x10", "1,5", "٣"])
def test_what_counts_as_a_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;y\n" + "x;u\n" + "2;u\n" * 30 + f"{text};u\n")
    raw = read_sources(config(path, delimiter=";"))
    texts = [value for _, _, _, _, value in bad(raw)]
    assert "x" in texts
    assert (text in texts) == (text in ("NaN2", "1_000", "0x10", "1,5", "٣"))


def test_declared_and_special_columns_are_left_alone(tmp_path: Path) -> None:
    values = ["7"] * 99 + ["x"]
    for more in (
        {"columns": {"a": "categorical"}},
        {"columns": {"a": {"kind": "text"}}},
        {"ignore": ["a"]},
        {"split": {"kind": "group", "by": "a"}},
        {"cast": {"a": "text"}},
    ):
        assert read_table(config(column(tmp_path, values), **more)).column("a").to_pylist() == values


def test_a_column_declared_numeric_is_numeric_whatever_the_share(tmp_path: Path) -> None:
    raw = read_sources(config(column(tmp_path, ["1", "x", "y"]), columns={"a": "numeric"}))
    assert raw.table.column("a").to_pylist() == [1]
    assert [value for *_, value in bad(raw)] == ["x", "y"]


def test_numbers_in_one_file_and_text_in_another_are_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("a,y\n007,u\n" * 1)
    (tmp_path / "1.csv").write_text("a,y\nx1,u\nx2,u\n")
    assert read_table(config(tmp_path)).column("a").to_pylist() == ["007", "x1", "x2"]


def test_dates_are_dates_and_the_others_are_told_why(tmp_path: Path) -> None:
    values = ["2021-02-28"] * 60 + ["28.02.2021", "2021-02-30", "soon", ""]
    raw = read_sources(config(column(tmp_path, values)))
    assert raw.table.schema.field("a").type == pa.date32()
    assert [(row, reason, value) for _, row, _, reason, value in bad(raw)] == [
        (60, "is a date in another format", "28.02.2021"),
        (61, "is a date in another format", "2021-02-30"),
        (62, "is no date", "soon"),
    ]
    assert raw.table.column("a").null_count == 1


def test_dates_of_typed_text_become_dates_and_zones_become_utc(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": ["2021-01-01", "2021-01-02"],
            "time": ["2021-01-01 10:30", "2021-01-01T10:30:05.25"],
            "zoned": ["2021-01-01T10:30:00Z", "2021-01-01T10:30:00+02:00"],
            "y": ["2021-01-01", "2021-01-02"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_table(config(tmp_path / "t.parquet"))
    assert [str(kind) for kind in read.schema.types] == [
        "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]", "string",
    ]  # fmt: skip
    assert read.column("zoned")[1].as_py().hour == 8


def test_two_formats_that_share_a_column_are_an_error_unless_they_are_declared_names(tmp_path: Path) -> None:
    path = column(tmp_path, ["2021-02-28", "28.02.2021"] * 20)
    with pytest.raises(
        DataError, match=r"a looks like dates in more than one format: 50.0% .*'28\.02\.2021', the first"
    ):
        read_sources(config(path))
    assert read_table(config(path, columns={"a": "categorical"})).schema.field("a").type == pa.string()
    with pytest.raises(DataError, match=r"only 50.0% of its values are dates written as ISO 8601.*'28\.02\.2021'"):
        read_sources(config(path, columns={"a": "date"}))
    with pytest.raises(DataError, match=r"written as %d\.%m\.%Y; .* such as '2021-02-28', the first in row 0"):
        read_sources(config(path, columns={"a": {"kind": "date", "format": "%d.%m.%Y"}}))


@pytest.mark.parametrize(
    ("written", "values", "told", "kind"),
    [
        ("%d.%m.%Y", ["03.02.2021", "3.2.2021", "31.02.2021"], ["2021-02-03", "2021-02-03", None], "date32[day]"),
        ("%d.%m.%Y %H:%M", ["03.02.2021 04:05"], ["2021-02-03 04:05:00"], "timestamp[s]"),
        ("%Y%m%d", ["20210203"], ["2021-02-03"], "date32[day]"),
        ("%d %b %y", ["03 Feb 21", "03 feb 21"], ["2021-02-03", "2021-02-03"], "date32[day]"),
        ("%Y-%m-%d %H:%M:%S.%f", ["2021-02-03 04:05:06.5"], ["2021-02-03 04:05:06.500000"], "timestamp[us]"),
        ("%Y-%m-%dT%H:%M%z", ["2021-02-03T04:05+0200"], ["2021-02-03 02:05:00+00:00"], "timestamp[us, tz=UTC]"),
        ("%m/%d/%Y %I:%M %p", ["02/03/2021 04:05 PM"], ["2021-02-03 16:05:00"], "timestamp[s]"),
    ],
)
def test_declared_formats(tmp_path: Path, written: str, values: list[str], told: list[str], kind: str) -> None:
    good = next(value for value, date in zip(values, told, strict=True) if date)
    path = column(tmp_path, [*values, *[good] * 30])
    raw = read_sources(config(path, columns={"a": {"kind": "date", "format": written}}))
    assert str(raw.table.schema.field("a").type) == kind
    read = dict(zip(raw.rows.tolist(), raw.table.column("a").to_pylist(), strict=True))
    assert [str(read[i]) if i in read else None for i in range(len(values))] == told
    assert [value for *_, value in bad(raw)] == [value for value, date in zip(values, told, strict=True) if not date]


def test_a_format_that_is_none_is_refused_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.columns\.a\.format is '%Q', which is no format of dates"):
        read_sources(config(column(tmp_path, ["1"]), columns={"a": {"kind": "date", "format": "%Q"}}))


def test_numbers_declared_dates_need_a_format(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.array([20210203] * 3)}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="is declared a date, but holds int64"):
        read_sources(config(tmp_path / "t.parquet", columns={"a": "date"}))
    table = read_table(config(tmp_path / "t.parquet", columns={"a": {"kind": "date", "format": "%Y%m%d"}}))
    assert str(table.column("a")[0].as_py()) == "2021-02-03"


def test_where_no_row_is_left_the_reasons_are_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,x,u\nz,2,u\n")
    with pytest.raises(DataError, match=r"every row is bad: .*a: is no number \(1 rows\)"):
        read_sources(config(path, columns={"a": "numeric", "b": "numeric"}))
