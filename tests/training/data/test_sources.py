"""Reading tables: every kind of source, and plain words for every kind of nonsense."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.config import DataConfig
from training.data.sources import SKLEARN_SETS, read_table
from training.errors import DataError


def config(source: object, **more: object) -> DataConfig:
    return DataConfig.model_validate({"source": str(source), "target": "y", **more})


@pytest.mark.parametrize("name", SKLEARN_SETS)
def test_bundled_sets_have_rows_and_a_target(name: str) -> None:
    table = read_table(config(f"sklearn:{name}"))
    assert table.num_rows > 100
    assert "target" in table.column_names


def test_csv_text_is_stripped_and_markers_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a, b ,y\n1, x ,u\n?, ?,v\n3,y,u\n")
    table = read_table(config(tmp_path / "a.csv", missing=["?"]))
    assert table.column("a").to_pylist() == [1, None, 3]
    assert table.column("b").to_pylist() == ["x", None, "y"]


def test_names_replace_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,x\n2,y\n")
    table = read_table(config(tmp_path / "a.csv", names=["n", "y"]))
    assert table.to_pylist() == [{"n": 1, "y": "x"}, {"n": 2, "y": "y"}]


def test_a_declared_category_keeps_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("zip,y\n01234,1\n00001,0\n")
    table = read_table(config(tmp_path / "a.csv", columns={"zip": "categorical"}))
    assert table.column("zip").to_pylist() == ["01234", "00001"]


def test_folder_glob_and_uri_give_the_same_rows(tmp_path: Path) -> None:
    for i in range(3):
        pq.write_table(pa.table({"a": [i], "y": ["u"]}), tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    folder = read_table(config(tmp_path))
    assert folder.column("a").to_pylist() == [0, 1, 2]
    assert read_table(config(tmp_path / "part-*.parquet")) == folder
    assert read_table(config(f"file://{tmp_path}/part-*.parquet")) == folder
    assert read_table(config("part-*.parquet"), base=tmp_path) == folder


def test_files_of_whole_and_broken_numbers_join(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,u\n")
    (tmp_path / "b.csv").write_text("a,y\n1.5,u\n")
    assert read_table(config(tmp_path)).column("a").to_pylist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,y\n", "no rows"),
        (b"a,y\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "cannot be read as CSV"),
        (b"a,a\n1,2\n", "more than once"),
        ("a,y\n1,caf\u00e9\n".encode("latin-1"), "the column y is not UTF-8 text"),
    ],
)
def test_bad_csv_says_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read_table(config(path))
    assert "bad.csv" in str(error.value)


def test_a_csv_file_called_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(config(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sklearn:mnist", "no bundled set"),
        ("nowhere.csv", "does not exist"),
        ("s4://bucket/x", "not a location"),
        ("*.csv", "holds no CSV or Parquet"),
    ],
)
def test_a_source_that_is_not_there_is_named(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "near.txt.md").write_text("x")
    with pytest.raises(DataError, match=said):
        read_table(config(source), base=tmp_path)


def test_a_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match=r"holds train\.csv"):
        read_table(config("trian.csv"), base=tmp_path)
