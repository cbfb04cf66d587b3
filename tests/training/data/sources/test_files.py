"""Finding files: folders, globs and URIs, and plain words where nothing fits."""

import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.data.sources.asking import config
from training.data.sources import SKLEARN_SETS, read_sources, read_table
from training.errors import DataError

ROOT = Path(__file__).resolve().parents[4]


def test_reading_a_file_loads_no_heavy_library() -> None:
    heavy = ("torch", "ray", "sklearn", "pandas", "pint", "adbc_driver_manager")
    code = f"import sys, training.data.sources; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", SKLEARN_SETS)
def test_bundled_sets_have_rows_and_a_target(name: str) -> None:
    table = read_table(config(f"sklearn:{name}"))
    assert table.num_rows > 100
    assert "target" in table.column_names


def test_folder_glob_and_uri_give_the_same_rows(tmp_path: Path) -> None:
    for i in range(3):
        pq.write_table(pa.table({"a": [i], "y": ["u"]}), tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    folder = read_table(config(tmp_path))
    assert folder.column("a").to_pylist() == [0, 1, 2]
    assert read_table(config(tmp_path / "part-*.parquet")) == folder
    assert read_table(config(tmp_path / "part-?.parquet")) == folder
    assert read_table(config(f"file://{tmp_path}/part-*.parquet")) == folder
    assert read_table(config("part-*.parquet"), base=tmp_path) == folder
    assert read_table(config(f"{tmp_path.parent}/**/{tmp_path.name}/**/part-[0-2].parquet")) == folder


def test_rows_keep_their_file_and_number(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text("a,y\n" + "1,u\n" * (i + 1))
    raw = read_sources(config(tmp_path))
    assert [Path(raw.origin.locate(int(row))[0]).name for row in raw.rows] == ["0.csv"] + ["1.csv"] * 2 + ["2.csv"] * 3
    assert [raw.origin.locate(int(row))[1] for row in raw.rows] == [0, 0, 1, 0, 1, 2]
    (facts,) = raw.sources
    assert (facts.name, facts.num_rows, facts.columns) == ("source", 6, {"a": "int64", "y": "string"})
    assert [Path(file.path).name for file in facts.files] == ["0.csv", "1.csv", "2.csv"]
    assert facts.files[0].size_bytes == 8
    assert facts.files[0].modified_at.startswith("20")
    assert len(facts.digest) == 32
    assert read_sources(config(tmp_path), source=str(tmp_path / "0.csv")).sources[0].name == "test"


def test_a_folder_of_partitions_gives_their_columns(tmp_path: Path) -> None:
    for year, city in ((2020, "a%20b"), (2021, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"year={year}" / f"city={city}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"x": [1.5]}), folder / "part.parquet")
    assert read_table(config(tmp_path)).to_pylist() == [
        {"x": 1.5, "year": 2020, "city": "a b"},
        {"x": 1.5, "year": 2021, "city": None},
    ]


def test_what_writers_leave_beside_their_data_is_no_data_and_other_files_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    pq.write_table(pa.table({"z": [1]}), tmp_path / "_delta_log" / "1.checkpoint.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "part.parquet")
    (tmp_path / "README.md").write_text("about")
    raw = read_sources(config(tmp_path))
    assert raw.table.column_names == ["a"]
    assert "README.md" in raw.notes[0]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sklearn:mnist", "no bundled set"),
        ("nowhere.csv", "does not exist"),
        ("s4://bucket/x", "not a location"),
        ("*.csv", r"holds no file that can be read\n.*found: near\.txt\.md"),
    ],
)
def test_a_source_that_is_not_there_is_named(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "near.txt.md").write_text("x")
    with pytest.raises(DataError, match=said if source != "*.csv" else "holds no file that can be read"):
        read_table(config(source), base=tmp_path)


def test_a_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match=r"holds train\.csv"):
        read_table(config("trian.csv"), base=tmp_path)


@pytest.mark.parametrize("content", ["", "a,y\n", "\n\n"])
def test_an_empty_file_among_full_ones_is_named(tmp_path: Path, content: str) -> None:
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text("a,y\n1,u\n")
    (tmp_path / "1.csv").write_text(content)
    with pytest.raises(DataError, match=r"1\.csv .*(is empty|no rows)"):
        read_sources(config(tmp_path))


def test_an_empty_parquet_file_among_full_ones_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"1\.parquet has column names but no rows, unlike the 1 other"):
        read_sources(config(tmp_path))


def test_files_of_other_columns_are_named_with_them(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text("a,b,y\n1,2,u\n")
    (tmp_path / "0.csv").write_text("a,c,y\n1,2,u\n")
    with pytest.raises(DataError, match=r"0\.csv lacks b and has c besides, unlike 2 of the 3 files"):
        read_sources(config(tmp_path))


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("a,y\n1,u\n")
    (tmp_path / "1.csv").write_text("y,a\nv,2\n")
    assert read_table(config(tmp_path)).to_pylist() == [{"a": 1, "y": "u"}, {"a": 2, "y": "v"}]


def test_parquet_files_of_other_types_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match="do not fit together"):
        read_sources(config(tmp_path))


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,y\n" + "1,u\n" * 1_000_000)
    written, stop = threading.Event(), threading.Event()

    def grow() -> None:
        with path.open("a") as file:
            while not stop.is_set():
                file.write("2,v\n")
                file.flush()
                written.set()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert written.wait(10)
        with pytest.raises(DataError, match=r"log\.csv changed while it was read"):
            read_sources(config(path))
    finally:
        stop.set()
        writer.join()


def test_passwords_stay_out_of_messages_and_facts(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_sources(config("s3://AKIA:geheim@bucket/x.csv?endpoint_override=127.0.0.1:1&scheme=bad&secret_key=geheim"))
    assert "geheim" not in str(caught.value)
