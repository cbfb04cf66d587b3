"""Rows read lot by lot are the rows of the table read whole, in every format and for every kind of column."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.predict.reading import Reading
from cluster.predict.source import open_source
from tests.cluster.predicting import (
    FORMATS,
    NUMBER,
    TEXT,
    assert_same,
    people,
    pixels,
    streamed,
    whole,
    write_csv,
    write_parquet,
)
from tests.kinds import config, table
from tests.packages import TABLE_INPUTS
from training.data.table import infer_schema
from training.errors import DataError
from training.features import fit_transforms
from training.package.manifest import InputSpec

CATEGORY = InputSpec(name="x", kind="categorical", datatype="BYTES")
DATE = InputSpec(name="x", kind="date", datatype="BYTES")
GERMAN = InputSpec(name="x", kind="date", datatype="BYTES", format="%d.%m.%Y")
NUMBERED = InputSpec(name="x", kind="date", datatype="BYTES", format="%Y%m%d")
DAYS = pa.array(["2021-02-03", None, "1999-12-31", "2024-02-29"])

COLUMNS: dict[str, tuple[InputSpec, pa.Array]] = {
    "whole numbers": (NUMBER, pa.array([3, None, -7, 2**60 + 1])),
    "floats": (NUMBER, pa.array([0.1, None, 1e30, float("nan")])),
    "half precision": (NUMBER, pa.array(np.array([0.5, 2, 3, 4], np.float16))),
    "decimals": (NUMBER, pa.array(["1.25", None, "-0.5", "3"]).cast(pa.decimal128(10, 3))),
    "flags as numbers": (NUMBER, pa.array([True, None, False, True])),
    "numbers as text": (NUMBER, pa.array([" 1.5", None, "2 ", "+3e2"])),
    "whole numbers as text": (NUMBER, pa.array(["007", "NA", "-2", "0"])),
    "no number at all": (NUMBER, pa.array([None, None, None, None], pa.float64())),
    "texts": (CATEGORY, pa.array([" Rome", None, "NA", "São Paulo"])),
    "a dictionary": (CATEGORY, pa.array(["b", "a", None, "b"]).dictionary_encode()),
    "a dictionary of numbers": (NUMBER, pa.array([5, 7, None, 5]).dictionary_encode()),
    "categories as numbers": (CATEGORY, pa.array([10, 2, None, 10])),
    "categories as floats": (CATEGORY, pa.array([1.0, 2.5, None, 1e20])),
    "categories as flags": (CATEGORY, pa.array([True, None, False, True])),
    "categories like numbers": (CATEGORY, pa.array(["007", "7", None, "7.0"])),
    "long texts": (TEXT, pa.array(["a b\nc", None, 'd "e", f', "x" * 3000], pa.large_string())),
    "days as text": (DATE, DAYS),
    "times as text": (DATE, pa.array(["2021-02-03T10:11:12", None, "2021-02-03 04:05", "2020-01-01"])),
    "times with zones": (DATE, pa.array(["2021-02-03T10:11:12+02:00", None, "2021-02-03T04:05:06Z", None])),
    "days": (DATE, DAYS.cast(pa.date32())),
    "timestamps": (DATE, DAYS.cast(pa.timestamp("s"))),
    "timestamps with a zone": (DATE, DAYS.cast(pa.timestamp("us")).cast(pa.timestamp("us", "Europe/Rome"))),
    "days of a format": (GERMAN, pa.array(["03.02.2021", None, "31.12.1999", "29.02.2024"])),
    "days as numbers": (NUMBERED, pa.array([20210203, None, 19991231, 20240229])),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("column", COLUMNS)
def test_every_kind_of_column_is_read_in_lots_as_in_one(tmp_path: Path, column: str, name: str) -> None:
    spec, values = COLUMNS[column]
    values = pa.concat_arrays([values] * 5) if not pa.types.is_dictionary(values.type) else values
    rows = pa.table({"x": values, "left out": np.arange(len(values))})
    if name.endswith(".csv") and pa.types.is_dictionary(values.type):
        rows = rows.set_column(0, "x", values.dictionary_decode())
    if name.endswith(".csv") and values.type == pa.float16():
        pytest.skip("Arrow writes no half precision to CSV")
    FORMATS[name](rows, tmp_path / name)
    got = streamed(tmp_path / name, (spec,), {}, lot_rows=3).inputs
    assert_same(got, whole(tmp_path / name, (spec,), {}))
    assert len(got["x"]) == len(values)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_images_in_files_beside_all_other_kinds(tmp_path: Path, name: str) -> None:
    rows = table()
    _, specs = fit_transforms(rows, infer_schema(rows, config()), config(), "")
    FORMATS[name](rows, tmp_path / name)
    assert_same(streamed(tmp_path / name, specs, {}, lot_rows=7).inputs, whole(tmp_path / name, specs, {}))


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_a_pixel_a_column(tmp_path: Path, name: str) -> None:
    spec = InputSpec(
        name="image", kind="image", datatype="FP32", shape=(1, 8, 8), columns=tuple(f"pixel_{i}" for i in range(64))
    )
    FORMATS[name](pixels(40), tmp_path / name)
    got = streamed(tmp_path / name, (spec,), {}, lot_rows=9).inputs
    assert_same(got, whole(tmp_path / name, (spec,), {}))
    assert got["image"].shape == (40, 1, 8, 8)


def test_a_folder_of_image_files(tmp_path: Path) -> None:
    rows = table(20)
    (tmp_path / "images").mkdir()
    for i, content in enumerate(rows.column("photo").to_pylist()):
        (tmp_path / "images" / f"{i:02}.png").write_bytes(content)
    spec = InputSpec(name="image", kind="image", datatype="BYTES", shape=(3, 6, 5))
    got = streamed(tmp_path / "images", (spec,), {}, lot_rows=6).inputs
    FORMATS["t.parquet"](rows.select(["photo"]).rename_columns(["image"]), tmp_path / "t.parquet")
    assert_same(got, whole(tmp_path / "t.parquet", (spec,), {}))


HOW: dict[str, Any] = {
    "delimiter": ";",
    "missing": ["?", ""],
    "names": ["tall", "zip", "born", "income"],
    "rename": {"tall": "height", "income": "y"},
    "cast": {"zip": "text", "y": "text"},
    "convert": {"height": "inch -> cm"},
}


def test_rows_are_shaped_as_the_packages_table_was(tmp_path: Path) -> None:
    specs = (
        InputSpec(name="height", kind="numeric", datatype="FP32"),
        InputSpec(name="zip", kind="categorical", datatype="BYTES"),
        InputSpec(name="born", kind="date", datatype="BYTES", format="%d.%m.%Y"),
    )
    rows = "10;01234;03.02.2021;1\n?; 98765;?;2\n" * 20
    (tmp_path / "t.csv").write_text(rows)
    got = streamed(tmp_path / "t.csv", specs, HOW, lot_rows=3).inputs
    assert got["zip"].tolist()[:2] == ["01234", "98765"]
    assert got["height"][:2].tolist() == [pytest.approx(25.4), pytest.approx(np.nan, nan_ok=True)]
    how = {**HOW, "cast": {"zip": "text"}, "rename": {"tall": "height"}}
    assert_same(got, whole(tmp_path / "t.csv", specs, how))


def test_what_the_model_does_not_take_is_not_even_read(tmp_path: Path) -> None:
    rows = people(30).set_column(4, "noise", pa.array(["1", "2", "three"] * 10))
    write_csv(rows, tmp_path / "t.csv")
    assert len(streamed(tmp_path / "t.csv", TABLE_INPUTS, {}, 8).inputs["age"]) == 30


def test_a_folder_a_glob_and_folders_with_names_are_one_table(tmp_path: Path) -> None:
    rows = people(60)
    for i, city in enumerate(["Rome", "Oslo"]):
        folder = tmp_path / "all" / f"city={city}"
        folder.mkdir(parents=True)
        write_parquet(rows.slice(30 * i, 30).drop_columns(["city"]), folder / "part.parquet")
    write_csv(rows.slice(0, 5).drop_columns(["city"]), tmp_path / "all" / "city=Rome" / "rest.csv")
    for place in (tmp_path / "all", tmp_path / "all" / "*" / "*.parquet", f"file://{tmp_path}/all"):
        got = streamed(place, TABLE_INPUTS, {}, 8).inputs
        assert_same(got, whole(place, TABLE_INPUTS, {}))
        assert set(got["city"]) == {"Rome", "Oslo"}


def test_packed_text_and_a_value_that_begins_with_a_mark(tmp_path: Path) -> None:
    write_csv(people(30), tmp_path / "t.csv")
    raw = b"\xef\xbb\xbf" + (tmp_path / "t.csv").read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(raw))
    assert_same(
        streamed(tmp_path / "t.csv.gz", TABLE_INPUTS, {}, 8).inputs, whole(tmp_path / "t.csv", TABLE_INPUTS, {})
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.jsonl", '{"x": 1}\n\n{"x": null}\n{"x": 2.5}\n'),
        ("t.json", '[{"x": 1}, {"x": null},\n {"x": 2.5}]'),
        ("t.json", '[\n{"x": 1}, {"x": null}, {"x": 2.5}]'),
        ("t.ndjson", '\ufeff{"x": 1}\n{"x": null}\n{"x": 2.5}'),
    ],
)
def test_json_in_lines_and_in_a_list(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    got = streamed(tmp_path / name, (NUMBER,), {}, 2).inputs["x"]
    np.testing.assert_array_equal(got, np.array([1, np.nan, 2.5], np.float32))


@pytest.mark.parametrize("text", ['{"x": 1}', '{\n  "x": 1\n}\n', '[{"x": 1}]'])
def test_one_object_in_every_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    assert streamed(tmp_path / "t.json", (NUMBER,), {}, 2).inputs["x"].tolist() == [1]


def test_a_lot_is_bounded_by_rows_and_by_the_size_of_images(tmp_path: Path) -> None:
    pq.write_table(people(500), tmp_path / "t.parquet")
    source = open_source(Reading(str(tmp_path / "t.parquet"), TABLE_INPUTS), 128)
    lots = [lot for part in source.parts for lot in source.lots(part)]
    assert [len(lot.numbers) for lot in lots] == [128, 128, 128, 116]
    assert np.concatenate([lot.numbers for lot in lots]).tolist() == list(range(500))
    image = InputSpec(name="image", kind="image", datatype="BYTES", shape=(3, 1024, 1024))
    assert open_source(Reading(str(tmp_path / "t.parquet"), (image,))).lot_rows == 2


def test_kept_columns_are_copied_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,x,note\n007,1,NA\n 8,2,\n")
    source = open_source(Reading(str(tmp_path / "t.csv"), (NUMBER,), keep=("id", "note")))
    (lot,) = source.lots(source.parts[0])
    assert lot.kept.to_pylist() == [{"id": "007", "note": "NA"}, {"id": " 8", "note": ""}]
    rows = [{"id": 7, "x": 1, "tag": ["a"]}, {"id": 8, "x": 2, "tag": None}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = open_source(Reading(str(tmp_path / "t.jsonl"), (NUMBER,), keep=None))
    (lot,) = source.lots(source.parts[0])
    assert lot.kept.to_pylist() == [{"id": 7, "x": 1, "tag": '["a"]'}, {"id": 8, "x": 2, "tag": None}]
    assert lot.rows == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"a,b\n1,2\n", "lacks 1 of the 1 columns that the model takes: x"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b'x,y\n1,a\n2,"b\n3,c\n', "opens in row 1 .* never closed"),
        ("t.csv", b"x,y\n1,a\n2,\xff\n", None),
        ("t.csv", b"x,x\n1,2\n", "has the column x more than once"),
        ("t.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("t.arrow", b"ARROW1 no", "cannot be read as Arrow IPC"),
        ("t.jsonl", b'{"x": \xff}\n', "not UTF-8 text"),
        ("t.json", b'[{"x": 1},\n {"x"}]', "line 2, column 6"),
    ],
)
def test_files_that_cannot_be_read_are_refused_with_their_place(
    tmp_path: Path, name: str, content: bytes, said: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    if said is None:  # bytes of a column that nobody reads harm nobody
        assert streamed(tmp_path / name, (NUMBER,), {}, 2).inputs["x"].tolist() == [1, 2]
        return
    with pytest.raises(DataError, match=said):
        streamed(tmp_path / name, (NUMBER,), {}, 2)


def test_rows_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(Reading(str(tmp_path / "none.csv"), (NUMBER,)))
    write_csv(people(3), tmp_path / "t.csv")
    source = open_source(Reading(str(tmp_path / "t.csv"), TABLE_INPUTS, keep=("idd",)))
    with pytest.raises(DataError, match="--keep names idd"):
        list(source.lots(source.parts[0]))
