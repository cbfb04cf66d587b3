"""New rows as people have them: CSV with or without a header, with or without the target, JSON with more columns."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli import app
from cluster.predict.wish import Wish, by_endpoint
from tests.cluster.predicting import NUMBER, TEXT, served, streamed
from tests.packages import write_table_package
from training.errors import DataError
from training.package.manifest import EXPERIMENT_FILE, InputSpec

# The training CSV had no header, and the target in its middle.
DATA = {"names": ["age", "city", "pay", "hours"], "target": "pay", "missing": ["?"]}
RECORDS = [{"age": 30, "city": "Rome", "hours": 40}, {"age": None, "city": "Oslo", "hours": 12}]
FILES = {
    "without the target": "30,Rome,40\n?, Oslo,12\n",
    "with the target": "30,Rome,low,40\n?, Oslo,high,12\n",
    "with a header": "age,city,hours\n30,Rome,40\n?, Oslo,12\n",
    "with a header and the target": "age,city,pay,hours\n30,Rome,low,40\n?, Oslo,high,12\n",
    "with more columns in another order": "id,hours, city,age,pay\n1,40,Rome,30,low\n2,12, Oslo,?,high\n",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "package"
    write_table_package(folder, extra={EXPERIMENT_FILE: yaml.safe_dump({"data": DATA}).encode()})
    return folder


@pytest.fixture(scope="module")
def roads(package: Path) -> Any:
    """What answers: a package here, and an endpoint that says how its table was read."""
    with served(package) as url:
        yield {"package": ["--package", package], "url": ["--url", url]}


def manta(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def answers(said: Any) -> list[dict[str, Any]]:
    assert said.exit_code == 0, (said.stderr, said.exception)
    return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.fixture(scope="module")
def expected(package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    rows = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, RECORDS)))
    return answers(manta(rows, "--package", package))


@pytest.mark.parametrize("road", ["package", "url"])
@pytest.mark.parametrize("name", FILES)
def test_new_rows_need_neither_the_target_nor_a_header(
    tmp_path: Path, roads: Any, expected: list[dict[str, Any]], name: str, road: str
) -> None:
    (tmp_path / "rows.csv").write_text(FILES[name])
    assert answers(manta(tmp_path / "rows.csv", "--format", "jsonl", *roads[road])) == expected


@pytest.mark.parametrize("road", ["package", "url"])
def test_another_number_of_columns_is_one_error_of_the_file(tmp_path: Path, roads: Any, road: str) -> None:
    (tmp_path / "rows.csv").write_text("30,Rome\n" * 3)
    said = manta(tmp_path / "rows.csv", "--skip-bad", *roads[road])
    assert said.exception.message == (
        "this package reads CSV without a header as 4 columns: age, city, pay, hours (or 3, without pay); "
        f"{tmp_path}/rows.csv has 2"
    )


@pytest.mark.parametrize("text", ["age,town,hours\n30,Rome,40\n", "age,hours\n30,40\n"])
def test_a_header_that_lacks_a_column_is_no_row(tmp_path: Path, roads: Any, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    said = manta(tmp_path / "rows.csv", *roads["package"])
    assert "lacks 1 of the 3 columns that the model takes: city" in said.exception.message


def test_rows_are_counted_from_the_first_one_after_a_header(tmp_path: Path, roads: Any) -> None:
    for text in (FILES["with a header"], FILES["without the target"]):
        (tmp_path / "rows.csv").write_text(f"{text}1,2\nold,Rome,1\n")
        said = manta(tmp_path / "rows.csv", "--skip-bad", *roads["package"])
        assert "row 2 (the first is 0) has 2 fields instead of 3; " in said.stderr
        assert "row 3 (the first is 0) age: is no number ('old')" in said.stderr


def test_a_file_of_each_layout_in_one_folder(tmp_path: Path, roads: Any, expected: list[dict[str, Any]]) -> None:
    for i, text in enumerate(FILES.values()):
        (tmp_path / f"{i}.csv").write_text(text)
    assert answers(manta(tmp_path, "--format", "jsonl", *roads["package"])) == expected * len(FILES)


def test_the_target_is_left_out_by_its_name_after_renaming(tmp_path: Path) -> None:
    how = {"names": ["x", "wage"], "rename": {"wage": "pay"}, "target": "pay"}
    (tmp_path / "t.csv").write_text("1\n2\n")
    assert streamed(tmp_path / "t.csv", (NUMBER,), how, 8).inputs["x"].tolist() == [1, 2]


def test_a_language_model_takes_its_target(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("7," + " ".join(["long"] * 50_000) + "\n")
    got = streamed(tmp_path / "t.csv", (TEXT,), {"names": ["id", "x"], "target": "x"}, 8).inputs["x"]
    assert got.tolist() == [" ".join(["long"] * 50_000)]


def test_names_that_look_like_numbers_are_a_header_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,0\n5,6\n")
    specs = tuple(InputSpec(name=name, kind="numeric", datatype="FP32") for name in "01")
    got = streamed(tmp_path / "t.csv", specs, {"names": ["0", "1", "2"], "target": "2"}, 8).inputs
    assert (got["0"].tolist(), got["1"].tolist()) == ([6], [5])


@pytest.mark.parametrize("road", ["package", "url"])
def test_columns_of_json_that_the_model_does_not_take_are_ignored_and_named_once(
    tmp_path: Path, roads: Any, expected: list[dict[str, Any]], road: str
) -> None:
    more = [{**RECORDS[0], "pay": "low", "id": 1}, {**RECORDS[1], "note": [1]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, more)))
    said = manta(tmp_path / "rows.jsonl", "--batch-rows", 2, *roads[road])
    assert answers(said) == expected
    assert said.stderr.count("that the model does not take are ignored: pay, id, note\n") == 1
    kept = manta(tmp_path / "rows.jsonl", "--keep", "id,pay", *roads[road])
    assert [row["id"] for row in answers(kept)] == [1, None]
    assert "are ignored: note\n" in kept.stderr
    assert "are ignored" not in manta(tmp_path / "rows.jsonl", "--keep", "all", *roads[road]).stderr


def test_a_misspelt_column_of_json_is_still_said(tmp_path: Path, roads: Any) -> None:
    (tmp_path / "rows.jsonl").write_text('{"agee": 30, "city": "Rome", "hours": 40}\n')
    said = manta(tmp_path / "rows.jsonl", *roads["package"])
    assert "'age' is missing; 'agee' is not one of the model's (nearest: 'age')" in said.exception.message


def test_an_endpoint_itself_refuses_records_with_more_columns(roads: Any) -> None:
    from serving.client import Client
    from serving.errors import ClientError

    with Client(roads["url"][1]) as client, pytest.raises(ClientError, match="'pay' is not one of the model's"):
        client.predict("adult", [{**RECORDS[0], "pay": "low"}])


def test_an_endpoint_that_does_not_say_how_its_table_was_read_takes_files_with_a_header(
    tmp_path: Path, package: Path
) -> None:
    (tmp_path / "rows.csv").write_text(FILES["without the target"])
    with served(package, without_table=True) as url, pytest.raises(DataError, match="lacks 3 of the 3 columns"):
        by_endpoint(Wish(str(tmp_path / "rows.csv"), f"{tmp_path}/a.csv"), url, None, print, print)
