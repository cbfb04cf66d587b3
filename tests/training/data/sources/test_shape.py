"""Renames, casts and units, as the config declares them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("Body Height,temp,zip,y\n70,212,007,u\n60,32,n/k,v\n,-40,013,u\n")
    return tmp_path / "t.csv"


def test_rename_comes_before_cast_and_cast_before_convert(table: Path) -> None:
    raw = read_sources(
        config(
            table,
            rename={"Body Height": "height"},
            cast={"zip": "text", "height": "number"},
            convert={"height": "inch -> cm", "temp": "degF -> degC"},
        )
    )
    assert raw.table.column_names == ["height", "temp", "zip", "y"]
    np.testing.assert_allclose(raw.table.column("height").to_pylist()[:2], [177.8, 152.4])
    assert raw.table.column("height")[2].as_py() is None
    np.testing.assert_allclose(raw.table.column("temp"), [100, 0, -40], atol=1e-9)
    assert raw.table.column("zip").to_pylist() == ["007", "n/k", "013"]


def test_names_may_change_places_but_not_meet(table: Path) -> None:
    assert read_table(config(table, rename={"temp": "zip", "zip": "temp"})).column_names[1:3] == ["zip", "temp"]
    with pytest.raises(DataError, match=r"after data\.rename, has the column zip more than once"):
        read_sources(config(table, rename={"temp": "zip"}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rename": {"tmp": "t"}}, r"data\.rename names tmp, but .* has no such column\nhint: nearest: temp"),
        ({"cast": {"Zip": "text"}}, r"data\.cast names Zip"),
        ({"convert": {"height": "inch -> cm"}}, r"data\.convert names height"),
        ({"convert": {"temp": "degF -> inch"}}, r"data\.convert\.temp: 'degF' cannot be converted to 'inch'"),
        ({"convert": {"temp": "grad F -> degC"}}, r"data\.convert\.temp: 'grad F' cannot be converted"),
        ({"convert": {"temp": "( -> degC"}}, r"data\.convert\.temp: '\(' cannot be converted"),
        ({"convert": {"temp": "__import__('os') -> degC"}}, r"cannot be converted"),
        ({"convert": {"y": "inch -> cm"}}, r"the column holds string, no numbers\nhint: data\.cast\.y: number"),
        ({"query": "SELECT 1"}, r"data\.query is set, but .* is not a database"),
        ({"args": {"a": 1}}, r"data\.args is set, but .* is not module:function"),
    ],
)
def test_what_the_config_asks_for_and_cannot_have(table: Path, more: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_sources(config(table, **more))


@pytest.mark.parametrize(
    ("target", "texts", "values", "reason"),
    [
        ("number", ["1", " 2.5 ", "x", "", "1e3"], [1.0, 2.5, None, 1000.0], "is no number"),
        (
            "integer",
            ["1", "2.0", "2.5", "", "12345678901234567"],
            [1, 2, None, 12345678901234567],
            "is no whole number",
        ),
        ("boolean", ["yes", "FALSE", "2", "", "1"], [True, False, None, True], "is neither true nor false"),
        ("date", ["2021-02-03", "2021-02-03", "03.02.2021", "", "2021-02-03"], None, "is no ISO 8601 date"),
    ],
)
def test_casts_of_text(tmp_path: Path, target: str, texts: list[str], values: list[object], reason: str) -> None:
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{text},u\n" for text in texts))
    raw = read_sources(config(tmp_path / "t.csv", cast={"a": target}))
    read = raw.table.column("a").to_pylist()
    if values is not None:
        assert read == values
    assert raw.rows.tolist() == [0, 1, 3, 4]
    ((_, row, name, why, value),) = bad(raw)
    assert (row, name, value) == (2, "a", texts[2].strip())
    assert why.startswith(reason)


def test_long_whole_numbers_are_cast_without_loss(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n9007199254740993,u\n+7,u\n")
    assert read_table(config(tmp_path / "t.csv", cast={"a": "integer"})).column("a").to_pylist() == [
        9007199254740993, 7,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "target", "read", "bad_rows"),
    [
        ([1.0, 2.5, np.inf, 4.0], "integer", [1, 4], [1, 2]),
        ([0, 1, 2], "boolean", [False, True], [2]),
        ([True, False], "integer", [1, 0], []),
        ([True, False], "number", [1.0, 0.0], []),
        ([7, 8], "text", ["7", "8"], []),
    ],
)
def test_casts_of_other_types(
    tmp_path: Path, values: list[object], target: str, read: list[object], bad_rows: list[int]
) -> None:
    pq.write_table(pa.table({"a": values}), tmp_path / "t.parquet")
    raw = read_sources(config(tmp_path / "t.parquet", cast={"a": target}))
    assert raw.table.column("a").to_pylist() == read
    assert raw.bad.column("row").to_pylist() == bad_rows


def test_a_cast_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.5], "l": [[1]]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"data\.cast\.a is date, but the column holds double"):
        read_sources(config(tmp_path / "t.parquet", cast={"a": "date"}))
    with pytest.raises(DataError, match=r"data\.cast\.l is text, but the column holds list"):
        read_sources(config(tmp_path / "t.parquet", cast={"l": "text"}))


def test_a_row_that_is_bad_twice_is_left_out_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n1,2,u\nx,z,v\n3,4,u\n")
    raw = read_sources(config(tmp_path / "t.csv", cast={"a": "integer", "b": "number"}))
    assert raw.bad.num_rows == 2
    assert (raw.table.num_rows, raw.num_read) == (2, 3)
