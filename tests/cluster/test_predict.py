"""`manta predict` with a package: rows to answers, bad rows named or left empty, outputs whole or not there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.predict.wish import ByPackage, Wish, by_package
from serving.predictor import Predictor
from tests.cluster.predicting import (
    people,
    pixels,
    write_csv,
    write_lines,
    write_mlp_package,
    write_parquet,
    write_summing_package,
)
from tests.kinds import config, table, write_package_of_kinds
from tests.packages import write_regression_package, write_table_package
from training.errors import ConfigError, DataError
from training.package.errors import PackageError


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "package"
    write_table_package(folder)
    return folder


def answer(package: Path, rows: Path, output: Path | None = None, **wish: Any) -> pa.Table:
    """The answers of a package to a file, read back."""
    output = output or rows.with_name("answers.parquet")
    by_package(Wish(str(rows), str(output), **wish), ByPackage(package, num_threads=1), _nothing, _nothing)
    return pq.read_table(output)


def _nothing(*_: object) -> None:
    pass


def manta(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_the_answers_are_those_of_predict_table(tmp_path: Path, package: Path, name: str) -> None:
    rows = people(700)
    (write_parquet if name.endswith("parquet") else write_csv)(rows, tmp_path / name)
    got = answer(package, tmp_path / name, batch_rows=64)
    assert got.equals(Predictor.load(package).predict_table(rows).cast(got.schema))


def test_json_lines_are_answered_as_predict_records_does(tmp_path: Path, package: Path) -> None:
    rows = people(50).select(["age", "hours", "city"])
    write_lines(rows, tmp_path / "rows.jsonl")
    got = answer(package, tmp_path / "rows.jsonl", batch_rows=7)
    assert got.equals(Predictor.load(package).predict_table(rows).cast(got.schema))


def test_a_csv_file_is_read_with_the_kinds_and_formats_of_training(tmp_path: Path) -> None:
    rows = table().drop_columns(["photo"])
    write_csv(rows, tmp_path / "rows.csv")
    write_package_of_kinds(tmp_path / "package", rows, config(image_shape=None))
    expected = Predictor.load(tmp_path / "package").predict_table(rows)["probability_v"].to_pylist()
    got = answer(tmp_path / "package", tmp_path / "rows.csv")["probability_v"].to_pylist()
    assert got == pytest.approx(expected, abs=1e-6)


def test_kept_columns_stand_beside_the_answers(tmp_path: Path, package: Path) -> None:
    write_parquet(people(40), tmp_path / "rows.parquet")
    got = answer(package, tmp_path / "rows.parquet", keep=("id", "age"))
    assert got.column_names == ["id", "age", "label", "probability_no", "probability_yes"]
    assert got["age"].equals(people(40)["age"])
    everything = answer(package, tmp_path / "rows.parquet", keep=("all",), force=True)
    assert everything.column_names[:6] == people(1).column_names
    renamed = people(5).rename_columns(["label", *people(1).column_names[1:]])
    write_parquet(renamed, tmp_path / "named.parquet")
    with pytest.raises(ConfigError, match="--keep copies label, which is also what the model answers"):
        answer(package, tmp_path / "named.parquet", tmp_path / "named", kind="parquet", keep=("label",))
    assert not (tmp_path / "named").exists()


def bad_csv(tmp_path: Path) -> Path:
    lines = ["id,age,hours,city", *(f"{i},{20 + i},40,Rome" for i in range(20))]
    lines[6], lines[12], lines[18] = "5,old,40,Rome", "11,31,40", "17,1e60,40,Oslo"
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "rows.csv"


def test_a_bad_row_is_named_by_its_number_in_the_file_and_nothing_is_written(tmp_path: Path, package: Path) -> None:
    rows = bad_csv(tmp_path)
    with pytest.raises(DataError, match=r"rows.csv: row 5 \(the first is 0\) age: is no number \('old'\)"):
        answer(package, rows, batch_rows=4)
    text = rows.read_text().replace("old", "44")
    rows.write_text(text)
    with pytest.raises(DataError, match=r"row 11 \(the first is 0\) has 3 fields instead of 4"):
        answer(package, rows, batch_rows=4)
    rows.write_text(text.replace("11,31,40", "11,31,40,Rome"))
    with pytest.raises(DataError, match=r"row 17 \(the first is 0\) column 'age': is inf, beyond the range"):
        answer(package, rows, batch_rows=4)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_skipped_bad_rows_have_empty_answers_in_their_places(tmp_path: Path, package: Path) -> None:
    rows = bad_csv(tmp_path)
    said = manta(rows, "--package", package, "--skip-bad", "--keep", "id", "--output", tmp_path / "a.parquet")
    assert said.exit_code == 0, said.stderr
    assert "3 of them are bad and their answers empty; " in said.stderr
    assert "row 5 (the first is 0) age: is no number ('old')" in said.stderr
    got = pq.read_table(tmp_path / "a.parquet")
    assert got.num_rows == 20
    assert [i for i, label in enumerate(got["label"].to_pylist()) if label is None] == [5, 11, 17]
    assert got["id"].to_pylist()[5] == "5"
    good = Predictor.load(package).predict_records([{"age": 26, "hours": 40, "city": "Rome"}])
    assert got["probability_yes"][6].as_py() == good[0]["probabilities"]["yes"]


def test_skipped_bad_records_have_empty_answers(tmp_path: Path, package: Path) -> None:
    good = '{"age": 30, "hours": 40, "city": "Rome"}'
    lines = [good, '{"age": }', good.replace("30", '"old"'), "7", good.replace(', "city": "Rome"', ""), good]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    got = answer(package, tmp_path / "rows.jsonl", skips_bad=True)["label"].to_pylist()
    assert [label is None for label in got] == [False, True, True, True, True, False]
    for bad, said in ((1, "row 1 .* is not JSON at line 2"), (2, "row 1 .*'old'"), (3, "row 1 .* is 7, must be an")):
        (tmp_path / "one.jsonl").write_text(f"{good}\n{lines[bad]}\n")
        with pytest.raises(DataError, match=said):
            answer(package, tmp_path / "one.jsonl", tmp_path / "one.parquet")


def test_rows_of_another_table_are_no_matter_of_skipping(tmp_path: Path, package: Path) -> None:
    rows = people(600).set_column(1, "age", pa.array(["old"] * 600))
    write_parquet(rows, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="bad"):
        answer(package, tmp_path / "rows.parquet", skips_bad=True)
    write_parquet(people(9).drop_columns(["city"]), tmp_path / "less.parquet")
    with pytest.raises(DataError, match=r"lacks 1 of the 3 columns that the model takes: city"):
        answer(package, tmp_path / "less.parquet")


def test_answers_on_stdout_are_csv_for_tables_and_lines_for_json(tmp_path: Path, package: Path) -> None:
    write_csv(people(3), tmp_path / "rows.csv")
    write_lines(people(3).select(["age", "hours", "city"]), tmp_path / "rows.jsonl")
    by_csv = manta(tmp_path / "rows.csv", "--package", package)
    assert by_csv.stdout.splitlines()[0] == "label,probability_no,probability_yes"
    lines = manta(tmp_path / "rows.jsonl", "--package", package).stdout.splitlines()
    assert [json.loads(line)["label"] for line in lines] == [
        row.split(",")[0] for row in by_csv.stdout.splitlines()[1:]
    ]
    assert set(json.loads(lines[0])["probabilities"]) == {"no", "yes"}
    assert "3 rows in" in by_csv.stderr


def test_a_number_is_answered_under_its_name(tmp_path: Path) -> None:
    write_regression_package(tmp_path / "package")
    write_csv(people(4), tmp_path / "rows.csv")
    said = manta(tmp_path / "rows.csv", "--package", tmp_path / "package", "--format", "jsonl")
    assert [list(json.loads(line)) for line in said.stdout.splitlines()] == [["prediction"]] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "{tmp}/none/a.csv"], "there is no folder"),
        (["--output", "{tmp}/there.csv"], "is there already"),
        (["--output", "{tmp}"], "is a folder"),
        (["--output", "{tmp}/a.doc"], "no ending that says how"),
        (["--output", "{tmp}/answers/"], "which only a Ray writes"),
        (["--format", "parquet"], "is not written to stdout"),
        (["--actors", "3"], "is of actors on a Ray"),
        (["--device", "gpu"], "is of actors on a Ray"),
        (["--keep", "idd"], "--keep names idd"),
        (["--variant", "fp64"], "no variant 'fp64'"),
        (["--url", "http://x"], "exclude each other"),
    ],
)
def test_wishes_that_cannot_be_are_refused(tmp_path: Path, package: Path, arguments: list[str], said: str) -> None:
    write_csv(people(3), tmp_path / "rows.csv")
    (tmp_path / "there.csv").write_text("precious")
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    result = manta(tmp_path / "rows.csv", "--package", package, *given)
    assert said in str(result.exception)
    assert (tmp_path / "there.csv").read_text() == "precious"


def test_rows_and_packages_that_are_not_there(tmp_path: Path, package: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        answer(package, tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text("age,hours,city\n")
    with pytest.raises(DataError, match="has no rows"):
        answer(package, tmp_path / "rows.csv")
    with pytest.raises(PackageError, match="no such folder"):
        answer(tmp_path / "none", tmp_path / "rows.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_force_replaces_an_output_only_once_the_new_one_is_whole(tmp_path: Path, package: Path) -> None:
    (tmp_path / "a.csv").write_text("precious")
    rows = bad_csv(tmp_path)
    assert manta(rows, "--package", package, "--output", tmp_path / "a.csv", "--force").exit_code != 0
    assert (tmp_path / "a.csv").read_text() == "precious"
    write_csv(people(3), rows)
    assert manta(rows, "--package", package, "--output", tmp_path / "a.csv", "--force").exit_code == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4


MILLION = """
import json, resource, sys
from pathlib import Path
from cluster.predict.wish import ByPackage, Wish, by_package
def run(rows, output):
    by = ByPackage(Path(sys.argv[1]), num_threads=1)
    return by_package(Wish(rows, output, keep=("id",)), by, lambda *_: None, print)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
run(sys.argv[2], sys.argv[2] + ".out.parquet")
before = peak()
tally = run(sys.argv[3], sys.argv[3] + ".out.parquet")
print(json.dumps({"grown_mb": peak() - before, "rows": tally.rows}))
"""


def test_a_million_rows_take_no_more_memory_than_few(tmp_path: Path, package: Path) -> None:
    million = people(1_000_000)
    pq.write_table(million.slice(0, 20_000), tmp_path / "few.parquet")
    pq.write_table(million, tmp_path / "many.parquet", row_group_size=250_000)
    command = [sys.executable, "-c", MILLION, package, tmp_path / "few.parquet", tmp_path / "many.parquet"]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    measured = json.loads(found.stdout)
    assert measured["rows"] == 1_000_000
    assert measured["grown_mb"] < 300
    answers = pq.read_table(tmp_path / "many.parquet.out.parquet")
    assert answers["id"].to_pylist() == list(range(1_000_000))
    assert pq.ParquetFile(tmp_path / "many.parquet.out.parquet").num_row_groups == 8
    predictor = Predictor.load(package)
    for start in (0, 499_990, 999_900):
        expected = predictor.predict_table(million.slice(start, 100))
        assert answers.slice(start, 100).drop_columns(["id"]).equals(expected.cast(answers.schema.remove(0)))


@pytest.mark.parametrize("write", [write_mlp_package, write_summing_package])
def test_what_is_answered_does_not_depend_on_how_rows_fall_into_lots(tmp_path: Path, write: Any) -> None:
    """Of the second, onnxruntime itself gives a row that comes alone other last bits."""
    write(tmp_path / "package")
    write_parquet(people(129) if write is write_mlp_package else pixels(129), tmp_path / "rows.parquet")
    answers = [
        answer(tmp_path / "package", tmp_path / "rows.parquet", batch_rows=size, force=True)
        for size in (1, 3, 64, 1000)
    ]
    assert all(one.equals(answers[0]) for one in answers)
