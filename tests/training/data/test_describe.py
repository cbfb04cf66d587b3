"""A table described without training: facts of its columns, and every problem a run would stop at."""

from pathlib import Path
from typing import Any

import pytest

from training.data.column_facts import ColumnFacts
from training.data.config import DataConfig
from training.data.describe import Description, describe, inferred_checks, read_checked
from training.errors import DataError

NUM_ROWS = 210
HEAD = "id,name,age,born,city,words,y\n"


def row(i: int) -> str:
    city = ("Rome", "Oslo", "Oslo", "")[i % 4]
    words, y = "word " * (1 + i % 5), "no" if i % 7 > 1 else "yes"
    return f"{i},SECRET{i % 60},{20 + i % 50},2001-0{1 + i % 9}-01,{city},{words},{y}\n"


def write(path: Path, rows: list[str]) -> str:
    path.write_text(HEAD + "".join(rows))
    return str(path)


def config(tmp_path: Path, **more: Any) -> DataConfig:
    if "source" not in more:
        more["source"] = write(tmp_path / "people.csv", [row(i) for i in range(NUM_ROWS)])
    settings = {"target": "y", "ignore": ["id"], "pii": {"name": "hash"}, "columns": {"words": "text"}}
    return DataConfig.model_validate(settings | more)


@pytest.fixture(autouse=True)
def pii_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_PII_KEY", "a key of the tests, long enough to be one")


def described(data: DataConfig) -> Description:
    return describe(read_checked(data), data)


def column(found: Description, name: str) -> ColumnFacts:
    return next(facts for facts in found.columns if facts.name == name)


def test_a_table_is_described_by_column_and_part(tmp_path: Path) -> None:
    found = described(config(tmp_path))
    assert found.problems == ()
    assert found.counts == {"main": {"read": 210, "bad": 0, "duplicates": 0, "dropped": 0, "kept": 210}}
    assert (found.task, found.classes) == ("classification", {"no": 150, "yes": 60})
    assert found.parts is not None
    assert (sum(found.parts.num_rows.values()), found.parts.leaks) == (210, ())
    age, city, words = (column(found, name) for name in ("age", "city", "words"))
    assert (age.use, age.kind, age.type, age.range) == ("feature", "numeric", "integer", (20, 43, 69))
    assert (city.num_missing, city.num_distinct, city.top) == (52, 2, (("Oslo", 105 / 210), ("Rome", 53 / 210)))
    assert words.text_chars == (4, 14, 24)
    assert column(found, "born").range == ("2001-01-01", "2001-05-01", "2001-09-01")
    assert column(found, "id").use == "ignored"
    assert column(found, "y").top == (("no", 150 / 210), ("yes", 60 / 210))


def test_no_value_of_personal_data_is_told(tmp_path: Path) -> None:
    found = described(config(tmp_path))
    name = column(found, "name")
    assert (name.is_personal, name.num_distinct, name.top) == (True, 60, ())
    checks = inferred_checks(read_checked(config(tmp_path)), config(tmp_path))["checks"]["columns"]
    assert checks["name"] == {"type": "text", "nullable": False}
    assert "SECRET" not in f"{found} {checks}"


def test_every_problem_is_found_and_none_stops_the_description(tmp_path: Path) -> None:
    rows = [row(i).replace(",no\n", ",no,late\n").replace(",yes\n", ",yes,paid\n") for i in range(NUM_ROWS)]
    rows[7] = rows[7].replace(",27,", ",-27,")
    path = tmp_path / "people.csv"
    path.write_text(HEAD.replace("y\n", "y,paid\n") + "".join([*rows, rows[3]]))
    found = described(
        config(tmp_path, source=str(path), checks={"columns": {"age": {"min": 0}}, "duplicates": "refuse"})
    )
    assert found.bad == {"age: is below 0": 1}
    assert found.parts is not None
    assert [leak.column for leak in found.parts.leaks] == ["paid"]
    said = [problem.message.splitlines()[0] for problem in found.problems]
    assert len(said) == 3
    assert said[0].startswith("1 of 211 rows are bad")
    assert said[1].startswith("1 of 210 rows are equal to an earlier one")
    assert said[2] == "single columns give away the target"


def test_a_test_source_that_does_not_fit_is_a_problem(tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", [row(i).replace("yes", "maybe") for i in range(30)])
    found = described(config(tmp_path, test=test))
    assert [problem.message[:40] for problem in found.problems] == ["data.test has classes that data.source l"]
    assert found.counts["test"]["kept"] == 30
    assert found.parts is None


def test_rows_that_are_trained_on_and_held_out_are_counted(tmp_path: Path) -> None:
    rows = [row(i) for i in range(NUM_ROWS)]
    test = write(tmp_path / "test.csv", rows[:10])
    found = described(config(tmp_path, test=test))
    assert found.parts is not None
    assert 5 < found.parts.num_overlapping <= 10
    refused = described(config(tmp_path, test=test, checks={"overlap": "refuse"}))
    assert "training rows are equal to rows that are held out" in refused.problems[0].message


def test_a_table_without_its_target_is_still_described(tmp_path: Path) -> None:
    found = described(config(tmp_path, target="z"))
    assert found.problems[0].message.startswith("data.target names z")
    assert column(found, "age").range == (20, 43, 69)
    with pytest.raises(DataError, match=r"data\.target names z"):
        inferred_checks(read_checked(config(tmp_path, target="z")), config(tmp_path, target="z"))


def test_inferred_checks_hold_for_the_test_source_too(tmp_path: Path) -> None:
    test = write(
        tmp_path / "test.csv", [row(i).replace("Rome", "Lima").replace(",69,", ",99,") for i in range(50, 115)]
    )
    data = config(tmp_path, test=test)
    checks = inferred_checks(read_checked(data), data)
    columns = checks["checks"]["columns"]
    assert columns["age"] == {"type": "integer", "min": 20, "max": 99, "nullable": False}
    assert columns["city"]["allowed"] == ["Lima", "Oslo", "Rome"]
    strict = DataConfig.model_validate(data.model_dump() | checks)
    assert described(strict).problems == ()


def test_an_allowed_target_may_be_spelled_as_rename_labels_says(tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", [row(i).replace("yes", "Yes.") for i in range(30)])
    allowed = {"columns": {"y": {"allowed": ["yes", "no"]}}}
    renamed = config(tmp_path, test=test, rename_labels={"Yes.": "yes"}, checks=allowed)
    assert described(renamed).problems == ()
    assert "y: is not yes or no" in described(config(tmp_path, test=test, checks=allowed)).bad
