"""Parquet, Arrow IPC and JSON lines: the same rows from each, and each with its own ways to be broken."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import feather

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError

TABLE = pa.table({"n": [1, None, 3], "x": [0.5, 1.5, None], "y": [" u", "v", "NA"], "flag": [True, False, None]})
ROWS = [
    {"n": 1, "x": 0.5, "y": "u", "flag": True},
    {"n": None, "x": 1.5, "y": "v", "flag": False},
    {"n": 3, "x": None, "y": None, "flag": None},
]


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def write_lines(table: pa.Table, path: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.parquet", pq.write_table),
        ("t.feather", feather.write_feather),
        ("t.arrows", write_stream),
        ("t.jsonl", write_lines),
        ("t.ndjson.gz", write_lines),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, write: object) -> None:
    write(TABLE, tmp_path / name)  # type: ignore[operator]
    assert read_table(config(tmp_path / name)).to_pylist() == ROWS
    (tmp_path / name).rename(tmp_path / "without_ending")
    if not name.endswith(".gz"):
        kind = {"parquet": "parquet", "jsonl": "jsonl"}.get(name[2:], "arrow")
        assert read_table(config(tmp_path / "without_ending", format=kind)).to_pylist() == ROWS


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
@pytest.mark.parametrize("content", [b"a,y\n1,2\n", b"PAR1" * 9, b"ARROW1" * 9])
def test_a_file_of_another_format_is_named(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=r"/x (cannot be read as|holds no JSON object)"):
        read_table(config(tmp_path / "x", format=kind))


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (pq.write_table if name == "t.parquet" else feather.write_feather)(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{name} cannot be read as"):
        read_table(config(path))


def test_repeated_columns_of_parquet_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet has the column a more than once"):
        read_table(config(tmp_path / "t.parquet"))


def test_text_of_another_encoding_in_parquet_is_found(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"caf\xe9"], pa.binary())
    forged = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(pa.table({"a": forged}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 1 \(the first is 0\): the column a is not UTF-8"):
        read_table(config(tmp_path / "t.parquet"))


def test_types_that_hold_text_in_other_ways_become_plain(tmp_path: Path) -> None:
    table = pa.table(
        {
            "coded": pa.array(["u ", "v", "u "]).dictionary_encode(),
            "large": pa.array(["a", "", "c"], pa.large_string()),
            "bytes": pa.array([b"a", b"b", b"c"]),
            "time": pa.array([0, 60, 3600], pa.time32("s")),
            "number": pa.array([7, 8, 7]).dictionary_encode(),
        }
    )
    pa.feather.write_feather(table, tmp_path / "t.feather")
    read = read_table(config(tmp_path / "t.feather"))
    assert {str(kind) for kind in read.schema.types} == {"string", "int64"}
    assert read.column("coded").to_pylist() == ["u", "v", "u"]
    assert read.column("large").to_pylist() == ["a", None, "c"]
    assert read.column("time").to_pylist() == ["00:00:00", "00:01:00", "01:00:00"]


def test_a_text_column_of_a_typed_format_stays_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"zip": ["01234"] * 99 + ["N1 2AB"]}), tmp_path / "t.parquet")
    assert read_table(config(tmp_path / "t.parquet")).column("zip")[0].as_py() == "01234"


def test_lines_of_mixed_values_are_settled_by_their_share(tmp_path: Path) -> None:
    values: list[object] = [1.5] * 60 + ["n/k"] + [2] * 39
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"a": v, "y": "u"}) + "\n" for v in values))
    raw = read_sources(config(tmp_path / "t.jsonl"))
    assert raw.table.schema.field("a").type == pa.float64()
    assert [(row, column, value) for _, row, column, _, value in bad(raw)] == [(60, "a", "n/k")]
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a": "x"}\n{"a": true}\n')
    assert read_table(config(tmp_path / "t.jsonl")).column("a").to_pylist() == ["1", "x", "true"]


def test_mixed_values_in_different_files_are_settled_together(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text('{"a": 1}\n' * 50)
    (tmp_path / "1.jsonl").write_text('{"a": "none"}\n')
    raw = read_sources(config(tmp_path))
    assert raw.table.column("a").to_pylist() == [1] * 50
    assert bad(raw)[0][:3] == ("1.jsonl", 0, "a")


def test_a_json_file_is_read_as_lines_where_it_is_named_and_left_alone_beside_data(tmp_path: Path) -> None:
    write_lines(TABLE, tmp_path / "t.json")
    assert read_table(config(tmp_path / "t.json")).column("n").to_pylist() == [1, None, 3]
    (tmp_path / "t.csv").write_text("n,y\n7,u\n")
    assert read_table(config(tmp_path)).column("n").to_pylist() == [7]
    (tmp_path / "t.json").write_text(json.dumps(ROWS))
    with pytest.raises(DataError, match=r"t\.json holds no JSON object: line 0 holds no object"):
        read_table(config(tmp_path / "t.json"))


def test_lines_that_are_no_objects_are_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n\n{"a": 2,}\n[1]\n{"a": 3, "a": 4}\n{"a": 5}\n')
    raw = read_sources(config(tmp_path / "t.jsonl"))
    assert raw.table.column("a").to_pylist() == [1, 5]
    assert raw.rows.tolist() == [0, 4]
    assert bad(raw)[0][-1] == '{"a": 2,}'
    assert [(row, reason.partition(":")[0]) for _, row, _, reason, _ in bad(raw)] == [
        (1, "is not JSON"),
        (2, "holds no object of column names and values"),
        (3, "is not one object"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n\n", "holds no JSON object"),
        (b'[{"a": 1}]', "holds no JSON object: line 0 holds no object"),
        (b'{"a": "caf\xe9"}\n', r"row 0 \(the first is 0\): the column a is not UTF-8"),
        (b'{"a": 1}\n{"a": "caf\xe9"}\n', r"row 1 \(the first is 0\) holds the byte 0xe9"),
    ],
)
def test_lines_that_cannot_be_read_at_all(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_sources(config(tmp_path / "t.jsonl"))


def png(side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_images_in_parquet_stay_as_they_are_and_broken_ones_are_bad_rows(tmp_path: Path) -> None:
    good = png(40)
    struct = [
        {"bytes": good, "path": "a.png"},
        {"bytes": good[: len(good) // 2], "path": "b.png"},
        {"bytes": good, "path": None},
    ]
    pixels = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    table = pa.table(
        {
            "plain": [good, good, b""],
            "hf": struct,
            "tensor": pixels,
            "flat": pa.array([[0.0] * 4] * 3, pa.list_(pa.float32(), 4)),
            "nested": [[[1, 2], [3, 4]]] * 3,
            "y": [0, 1, 2],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    raw = read_sources(config(tmp_path / "t.parquet"))
    assert raw.table.schema.types == table.schema.types
    assert raw.table.column("plain").to_pylist() == [good]
    assert [(row, column) for _, row, column, _, _ in bad(raw)] == [(2, "plain"), (1, "hf")]
    assert "empty file" in bad(raw)[0][3]
    assert "truncated" in bad(raw)[1][3] or "broken" in bad(raw)[1][3]


def test_bytes_that_are_neither_text_nor_images_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [b"ok", b"\xff\xfe\x00"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\): the column a holds bytes that are neither"):
        read_sources(config(tmp_path / "t.parquet"))
