"""Personal data: planted values must not be found in anything that reading gives or says."""

import json
import logging
import sqlite3
import sys
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from pydantic import ValidationError

from tests.training.data.sources.asking import config
from training.data.raw import Raw
from training.data.sources import read_sources
from training.errors import DataError
from training.package.errors import NoPiiKey
from training.package.pii import KEY_VARIABLE, Pseudonymiser

KEY = "a key of more than sixteen bytes"
NAME, NUMBER = "Planted Person", "078-05-1120"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def everything(raw: Raw) -> str:
    """All that reading gives, as text."""
    return f"{raw.table.to_pylist()} {raw.bad.to_pylist()} {raw.sources} {raw.notes} {raw.table.schema}"


def refused(data: Any, base: Path | None = None) -> str:
    """All that an error says, traceback and log included."""
    with pytest.raises(DataError) as caught:
        read_sources(data, base)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "x", None, caught._excinfo)
    return "".join(traceback.format_exception(caught.value)) + logging.Formatter().format(record)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.Table.from_pylist(rows)
    match path.suffix:
        case ".parquet":
            pq.write_table(table, path)
        case ".feather":
            feather.write_feather(table, path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".csv":
            lines = [",".join(table.column_names), *(",".join(map(str, row.values())) for row in rows)]
            path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "jsonl"])
def test_dropped_columns_are_gone_and_hashed_ones_are_pseudonyms(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"t.{ending}", [{"name": NAME, "ssn": NUMBER, "y": i} for i in range(3)])
    raw = read_sources(config(path, pii={"name": "drop", "ssn": "hash"}))
    assert raw.table.column_names == ["ssn", "y"]
    assert set(raw.table.column("ssn").to_pylist()) == {Pseudonymiser(KEY.encode()).text(NUMBER)}
    assert NAME not in everything(raw)
    assert NUMBER not in everything(raw)


def test_a_quote_that_stays_open_in_a_dropped_column_loses_no_rows_in_silence(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f'y,name\n1,"{NAME}\n' + f"2,{NAME}\n" * 9)
    assert "is never closed" in refused(config(tmp_path / "t.csv", pii={"name": "drop"}))


def test_either_name_of_a_renamed_column_is_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"name": NAME, "ssn": NUMBER, "y": 1}])
    for pii in ({"name": "drop", "ssn": "hash"}, {"who": "drop", "id": "hash"}):
        raw = read_sources(config(path, rename={"name": "who", "ssn": "id"}, pii=pii))
        assert raw.table.column_names == ["id", "y"]
        assert raw.table.column("id")[0].as_py().startswith("pii:")


def test_a_hashed_number_is_not_a_number_and_needs_no_cast(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"zip": "01234", "y": 1}, {"zip": "1234", "y": 1}])
    first, second = read_sources(config(path, pii={"zip": "hash"})).table.column("zip").to_pylist()
    assert first != second  # read as written, not as a number


def test_a_typo_in_pii_is_refused_before_anything_slips_through(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"name": NAME, "y": 1}])
    assert NAME not in refused(config(path, pii={"nam": "drop"}))


@pytest.mark.parametrize(
    "more",
    [
        {"pii": {"y": "hash"}},
        {"pii": {"label": "drop"}, "rename": {"label": "y"}},
        {"pii": {"age": "hash"}, "cast": {"age": "number"}},
        {"pii": {"age": "hash"}, "convert": {"age": "year -> day"}},
        {"pii": {"age": "hash"}, "join": [{"source": "x.csv", "on": "age", "cast": {"age": "integer"}}]},
    ],
)
def test_the_config_cannot_ask_for_what_hiding_forbids(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="pii names"):
        config("t.csv", **more)


RAGGED = f"name,age,y\n{NAME},1,u\n{NAME},7,{NUMBER},v\n{NAME}\nx,2,u\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ragged.csv", RAGGED),
        ("all_ragged.csv", f"name,y\n{NAME},1,2\n{NAME},3,4\n"),
        ("quote.csv", f'name,y\n"{NAME},1\n' + f"{NAME},2\n" * 9),
        ("last_quote.csv", f'y,name\n1,"{NAME}\n' + f"2,{NAME}\n" * 9),
        ("slipped.csv", "name,age,y\n" + "x,1,u\n" * 30 + f"Doe,{NAME},v\n"),
        ("latin.csv", f"name,y\n{NAME}\xe9,1\n".encode("latin-1")),
        ("no_header.csv", f"{NAME},1\n{NUMBER},2\n"),
        ("no_header_twice.csv", f"{NAME},{NAME},1\n{NUMBER},x,2\n"),
        ("lines.jsonl", f'{{"name": "x", "y": 1}}\n{{"name": "{NAME}", "y": }}\n["{NAME}"]\n'),
        ("mixed.jsonl", f'{{"name": 1, "y": 1}}\n{{"name": "{NAME}", "y": 1}}\n'),
        ("not.parquet", NAME),
        ("not.feather", NAME * 9),
    ],
)
@pytest.mark.parametrize("how", ["hash", "drop"])
def test_bad_files_do_not_give_it_away(tmp_path: Path, name: str, content: str | bytes, how: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        said = everything(read_sources(config(path, pii={"name": how})))
    except DataError as error:
        said = "".join(traceback.format_exception(error))
    assert NAME not in said
    assert NUMBER not in said


@pytest.mark.parametrize("more", [{}, {"rename": {"a": "b"}}, {"cast": {"a": "text"}}, {"convert": {"a": "m -> km"}}])
def test_files_without_a_header_have_personal_data_for_names_which_are_not_told(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text(f"{NAME} {i},{i}\n{NUMBER},2\n")
    for source in (tmp_path, tmp_path / "0.csv"):
        assert NAME not in refused(config(source, pii={"name": "hash"}, **more))
    (tmp_path / "main.csv").write_text("name,y\nx,1\n")
    data = config(tmp_path / "main.csv", pii={"name": "drop"})
    with pytest.raises(DataError, match="has no column y, the target") as caught:
        read_sources(data, source=str(tmp_path / "0.csv"))
    assert NAME not in str(caught.value)


def test_bad_values_of_other_columns_are_told_where_rows_cannot_slip(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [{"name": NAME, "age": age, "y": 1} for age in ("7", "old")])
    raw = read_sources(config(path, pii={"name": "hash"}, cast={"age": "number"}))
    assert raw.bad.column("value").to_pylist() == ["old"]


def test_databases_and_functions_do_not_give_it_away(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("CREATE TABLE t (name TEXT, y INTEGER)")
        connection.execute("INSERT INTO t VALUES (?, 1)", [NAME])
    connection.close()
    query = "SELECT json_extract(name, '$') AS name, y FROM t"
    assert NAME not in refused(config("sqlite:///t.db", query=query, pii={"name": "drop"}), tmp_path)
    (tmp_path / "made_pii.py").write_text(f"def table():\n    raise ValueError({NAME!r})\n")
    before = list(sys.path)
    said = refused(config("made_pii:table", pii={"name": "drop"}), tmp_path)
    sys.path[:] = before
    assert NAME not in said.replace(f"raise ValueError({NAME!r})", "")
    assert "ValueError" in said


def test_sources_hashed_with_one_key_can_be_joined(tmp_path: Path) -> None:
    main = write(tmp_path / "main.csv", [{"ssn": NUMBER, "y": 1}, {"ssn": "x", "y": 2}])
    other = write(tmp_path / "other.parquet", [{"person": NUMBER, "age": 7}, {"person": "z", "age": 8}])
    join = {"source": str(other), "on": {"ssn": "person"}}
    for pii in ({"ssn": "hash"}, {"person": "hash"}, {"ssn": "hash", "person": "hash"}):
        raw = read_sources(config(main, pii=pii, join=[join | {"max_unmatched_fraction": 0.5}]))
        assert raw.table.column("age").to_pylist() == [7, None]
        assert NUMBER not in everything(raw)
        said = refused(config(main, pii=pii, join=[join]))
        assert "1 of 2 (50.00%)" in said
        assert "'x'" not in said


def test_a_dropped_column_is_no_key(tmp_path: Path) -> None:
    main = write(tmp_path / "main.csv", [{"ssn": NUMBER, "y": 1}])
    assert "names ssn" in refused(config(main, pii={"ssn": "drop"}, join=[{"source": str(main), "on": "ssn"}]))


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.csv", [{"ssn": NUMBER, "y": 1}])
    from_environment = read_sources(config(path, pii={"ssn": "hash"})).table
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(NoPiiKey, match="MANTA_PII_KEY is not set"):
        read_sources(config(path, pii={"ssn": "hash"}))
    (tmp_path / "key").write_text(KEY + "\n")
    assert read_sources(config(path, pii={"ssn": "hash"}, pii_key_file="key"), tmp_path).table == from_environment
    (tmp_path / "key").write_text("short")
    with pytest.raises(NoPiiKey, match="has 5 bytes, must have at least 16"):
        read_sources(config(path, pii={"ssn": "hash"}, pii_key_file="key"), tmp_path)
    with pytest.raises(NoPiiKey, match="cannot be read from"):
        read_sources(config(path, pii={"ssn": "hash"}, pii_key_file="nowhere"), tmp_path)
    assert read_sources(config(path, pii={"ssn": "drop"})).table.column_names == ["y"]  # which needs no key


def test_lists_cannot_be_hashed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [[1]], "y": [1]}), tmp_path / "t.parquet")
    assert "has no text to hash" in refused(config(tmp_path / "t.parquet", pii={"a": "hash"}))
