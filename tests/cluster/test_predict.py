"""Rows of a file to answers, without an endpoint."""

from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from cluster.predict import _read_rows, here, read_records
from serving.predictor import Predictor
from tests.kinds import config, table, write_package_of_kinds
from tests.packages import write_table_package
from training.errors import DataError
from training.package.manifest import InputSpec


@pytest.mark.parametrize(
    "text",
    ['[{"age": 1}]', '{"age": 1}', '{\n  "age": 1\n}\n', '{"age": 1}\n\n'],
    ids=["list", "object", "object over lines", "lines"],
)
def test_one_row_in_every_form_of_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    assert read_records(tmp_path / "rows.json") == [{"age": 1}]


def test_objects_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"age": 1}\n{"age": 2}\n')
    assert [row["age"] for row in read_records(tmp_path / "rows.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"age": 1}\n{"age": }\n', "line 2, column 9"),
        (b'[{"age": 1},\n {"age"}]', "line 2, column 8"),
        (b'[{"age": 1}, 7]', "row 2 is 7, must be an object"),
        (b"7", "row 1 is 7, must be an object"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_records(tmp_path / "rows.json")


def test_records_are_answered_by_the_package(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    (tmp_path / "rows.jsonl").write_text('{"age": 30, "hours": 40, "city": "Rome"}\n')
    (answer,) = here(tmp_path / "rows.jsonl", tmp_path / "package")
    assert set(answer) == {"label", "probabilities"}


def test_a_csv_file_is_read_with_the_kinds_and_formats_of_training(tmp_path: Path) -> None:
    rows = table().drop_columns(["photo"])
    pacsv.write_csv(rows, tmp_path / "rows.csv")
    write_package_of_kinds(tmp_path / "package", rows, config(image_shape=None))
    answers = here(tmp_path / "rows.csv", tmp_path / "package")
    expected = Predictor.load(tmp_path / "package").predict_table(rows)["probability_v"].to_pylist()
    assert [answer["probabilities"]["v"] for answer in answers] == pytest.approx(expected, abs=1e-6)


def test_rows_are_renamed_cast_and_converted_like_the_training_table(tmp_path: Path) -> None:
    specs = (
        InputSpec(name="height", kind="numeric", datatype="FP32"),
        InputSpec(name="zip", kind="categorical", datatype="BYTES"),
    )
    rows = tmp_path / "rows.csv"
    rows.write_text("tall,zip\n10,01234\n20,98765\n")  # neither the target nor what was left out
    how = {
        "rename": {"tall": "height", "label": "income"},
        "cast": {"zip": "text", "income": "text"},
        "convert": {"height": "inch -> cm"},
    }
    table = _read_rows(rows, how, specs)
    assert table.column("zip").to_pylist() == ["01234", "98765"]
    assert [round(value, 6) for value in table.column("height").to_pylist()] == [25.4, 50.8]
