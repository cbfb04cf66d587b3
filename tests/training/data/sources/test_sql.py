"""Databases through ADBC."""

import sqlite3
from pathlib import Path

import pytest

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "my people.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE people (id INTEGER, age, zip TEXT, size REAL, photo BLOB, y TEXT)")
        rows = [(i, i + 20, f"0{i}", i / 2 if i % 3 else None, None, "uv"[i % 2]) for i in range(2000)]
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE nobody (id INTEGER)")
    connection.close()
    return path


def test_a_query_is_a_table(database: Path, tmp_path: Path) -> None:
    query = "SELECT id, zip, size, y FROM people WHERE id < 1500 ORDER BY id"
    raw = read_sources(config("sqlite:///my people.db", query=query), base=tmp_path)
    assert [str(kind) for kind in raw.table.schema.types] == ["int64", "string", "double", "string"]
    assert raw.table.num_rows == 1500
    assert raw.table.column("zip")[7].as_py() == "07"
    assert raw.table.column("size").null_count == 500
    assert raw.sources[0].files[0].path == str(database)
    assert read_table(config(f"sqlite:///{database}", query=query)) == raw.table  # four slashes: an absolute path


def test_a_column_of_mixed_values_is_settled_by_their_share(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE people SET age = 'old' WHERE id = 1900")
        connection.execute("UPDATE people SET id = 0.5 WHERE id = 1999")
    connection.close()
    raw = read_sources(config(f"sqlite:///{database}", query="SELECT id, age, zip FROM people;"))
    assert [str(kind) for kind in raw.table.schema.types] == ["double", "int64", "string"]
    assert [(row, column, value) for _, row, column, _, value in bad(raw)] == [(1900, "age", "old")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, r"is a database, and data\.query is missing"),
        ({"query": "SELEC id FROM people"}, r'refuses data\.query: .*near "SELEC": syntax error'),
        ({"query": "SELECT id FROM nope"}, "no such table: nope"),
        ({"query": "SELECT id FROM nobody"}, r"answers data\.query with no row"),
        ({"query": "SELECT id, y AS id FROM people"}, "has the column id more than once"),
        ({"query": "DELETE FROM people"}, "readonly"),
    ],
)
def test_a_query_that_gives_no_table(database: Path, more: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_sources(config(f"sqlite:///{database}", **more))
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT COUNT(*) FROM people").fetchone() == (2000,)
    connection.close()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "real.db").write_bytes(b"no database" * 99)
    with pytest.raises(DataError, match=r"sqlite:///rael\.db does not exist\nhint: .* holds real\.db"):
        read_sources(config("sqlite:///rael.db", query="SELECT 1"), base=tmp_path)
    assert not (tmp_path / "rael.db").exists()
    with pytest.raises(DataError, match="file is not a database"):
        read_sources(config("sqlite:///real.db", query="SELECT 1 FROM t"), base=tmp_path)
    with pytest.raises(DataError, match="names no database file"):
        read_sources(config("sqlite://real.db", query="SELECT 1"), base=tmp_path)


def test_postgresql_without_its_driver_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "adbc_driver_postgresql", None)
    with pytest.raises(DataError, match=r"needs the driver adbc-driver-postgresql.*\nhint: pip install") as caught:
        read_sources(config("postgresql://me:geheim@host/db", query="SELECT 1"))
    assert "geheim" not in str(caught.value)
