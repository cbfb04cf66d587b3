"""A package on another table, from the folder to the page."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml

from cluster.commands.evaluate import require_page
from cluster.evaluate import Wanted, judge, package_of
from cluster.evaluate_text import evaluation_text
from cluster.releases import registry_of
from serving.predictor import Predictor
from tests.cluster.test_cli import ROOT, manta
from tests.packages import TABLE_INPUTS, write_regression_package, write_table_package
from training.errors import ConfigError, DataError
from training.metrics import held_out_scores
from training.package.errors import PackageError
from training.package.manifest import EXPERIMENT_FILE, REFERENCE_FILE
from training.package.read import load_package, reference_of
from training.package.reference import build_reference
from training.report.evaluation_page import evaluation_page

DATA = {"source": "people.csv", "target": "rich", "missing": ["?"], "rename_labels": {"NO.": "no"}}
NASTY = "</script><script>alert(1)</script>"


def people(num_rows: int = 600, seed: int = 0) -> dict[str, Any]:
    """Rows of which the package knows something: the older, the likelier."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 12, num_rows).round(1)
    rich = rng.random(num_rows) < 1 / (1 + np.exp((age - 40) / 6))
    return {
        "age": age.tolist(),
        "hours": rng.normal(40, 10, num_rows).round().tolist(),
        "city": rng.choice(["Rome", "Oslo", "São Paulo"], num_rows).tolist(),
        "rich": np.where(rich, "no", "yes").tolist(),
        "branch": rng.choice(["north", "south"], num_rows).tolist(),  # the model does not take it
    }


def inputs(rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
    city = np.empty(len(rows["city"]), dtype=object)
    city[:] = rows["city"]
    return {"age": np.array(rows["age"], np.float32), "hours": np.array(rows["hours"], np.float32), "city": city}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    rows = people()
    reference = build_reference([inputs(rows)], TABLE_INPUTS, target=("rich", np.array(rows["rich"], dtype=object)))
    extra = {
        EXPERIMENT_FILE: yaml.safe_dump({"name": "adult", "data": DATA}).encode(),
        REFERENCE_FILE: reference.model_dump_json().encode(),
    }
    write_table_package(tmp_path / "package", extra=extra)
    return tmp_path / "package"


def table(path: Path, rows: Mapping[str, Any]) -> str:
    written = pa.table(dict(rows))
    pacsv.write_csv(written, path) if path.suffix == ".csv" else pq.write_table(written, path)
    return str(path)


def judged(package: Path, data: str, **more: Any) -> Any:
    return judge(Wanted(str(package), data, **({"num_resamples": 100} | more)), "runs")


def test_scores_are_those_of_the_package_on_these_rows(package: Path, tmp_path: Path) -> None:
    rows = people(seed=1)
    found = judged(package, table(tmp_path / "other.parquet", rows), by=["branch", "age"])
    probabilities = Predictor.load(package).predict(inputs(rows))["probabilities"]
    target = np.array([("no", "yes").index(label) for label in rows["rich"]])
    for name, value in held_out_scores("classification", probabilities, target).items():
        assert found.scores[name].value == pytest.approx(value, abs=1e-6)
        assert found.scores[name].low <= found.scores[name].value <= found.scores[name].high
    assert found.num_rows == 600
    assert [part.value for part in found.slices[:2]] in (["north", "south"], ["south", "north"])
    assert [part.column for part in found.slices[2:]] == ["age"] * 4
    assert sum(part.num_rows for part in found.slices[:2]) == 600
    assert found.packaged == {"accuracy": 0.9, "rmse": 1.5}
    assert found.calibration.about == "probability of yes"
    assert found.answer_shifts[0].input == "rich"
    assert {moved.verdict for moved in found.shifts} == {""}
    assert evaluation_text(found).startswith(
        f"{package}, variant fp32, on {tmp_path / 'other.parquet'}: rich\n600 rows"
    )


def test_the_table_is_read_as_the_packages_own_was(package: Path, tmp_path: Path) -> None:
    """Missing markers and labels as there; text where numbers stand; rows without a target counted."""
    rows = people()
    rows["age"] = ["?", *map(str, rows["age"][1:])]
    rows["rich"] = ["?", "?", *["NO." if label == "no" else label for label in rows["rich"][2:]]]
    found = judged(package, table(tmp_path / "other.csv", rows))
    assert (found.num_rows, found.num_without_target) == (598, 2)
    assert found.classes["no"] + found.classes["yes"] == 598


def test_what_moved_is_told(package: Path, tmp_path: Path) -> None:
    rows = people(seed=2)
    rows["hours"] = [hours + 15 for hours in rows["hours"]]
    rows["city"] = [None if i % 4 == 0 else "Atlantis" if i % 7 == 0 else city for i, city in enumerate(rows["city"])]
    found = judged(package, table(tmp_path / "other.parquet", rows))
    city, hours, age = found.shifts
    assert [moved.input for moved in found.shifts] == ["city", "hours", "age"]
    assert (city.verdict, hours.verdict, age.verdict) == ("much", "much", "")
    assert hours.outside > 0
    assert city.new_categories == ("Atlantis",)
    text = evaluation_text(found)
    assert "missing 0.0% then, 25.0% now" in text
    assert "unknown to the model: Atlantis" in text


def test_a_regression_is_judged_by_its_residuals(tmp_path: Path) -> None:
    write_regression_package(tmp_path / "package")
    rng = np.random.default_rng(0)
    rows = {"age": rng.normal(40, 10, 300), "hours": rng.normal(40, 10, 300)}
    predicted = Predictor.load(tmp_path / "package").predict({k: v.astype(np.float32) for k, v in rows.items()})
    rows["y"] = predicted["prediction"] + rng.normal(0, 2, 300)
    found = judged(tmp_path / "package", table(tmp_path / "other.parquet", rows), target="y", by=["age"])
    assert found.scores["rmse"].value == pytest.approx(2, rel=0.15)
    assert (found.metric, found.calibration, len(found.residuals.deciles)) == ("rmse", None, 10)
    assert not found.has_reference
    assert "without a reference" in found.notes[0]
    assert "too high by" in evaluation_text(found)
    assert "deciles" in evaluation_page(found)


@pytest.mark.parametrize(
    ("changes", "wanted", "error", "said"),
    [
        ({"rich": ["maybe"] * 600}, {}, DataError, "'maybe' \\(600 rows\\); it knows 'no', 'yes'"),
        ({"rich": None}, {}, DataError, "no column rich"),
        ({"age": None, "city": None}, {}, DataError, "lacks 2 of the 3 columns that the model takes: age, city"),
        ({}, {"by": ["brach"]}, DataError, "--by brach: the table has no such column"),
        ({}, {"variant": "fp8"}, PackageError, "has no variant 'fp8'; it has fp32, int8"),
    ],
)
def test_what_is_wrong_is_said(
    package: Path, tmp_path: Path, changes: dict[str, Any], wanted: dict[str, Any], error: type[Exception], said: str
) -> None:
    rows = {name: values for name, values in (people() | changes).items() if values is not None}
    with pytest.raises(error, match=said):
        judged(package, table(tmp_path / "other.parquet", rows), **wanted)


def test_classes_that_are_spelled_otherwise_can_be_renamed(package: Path, tmp_path: Path) -> None:
    rows = people()
    rows["wealth"] = ["+" if label == "yes" else "-" for label in rows.pop("rich")]
    data = table(tmp_path / "other.parquet", rows)
    found = judged(package, data, target="wealth", rename_labels={"+": "yes", "-": "no"})
    assert set(found.classes) == {"no", "yes"}
    with pytest.raises(DataError, match="no column rich"):
        judged(package, data)


def test_a_package_is_found_by_folder_release_and_run(package: Path, tmp_path: Path) -> None:
    storage = str(tmp_path / "runs")
    registry = registry_of(storage)
    release = registry.register("adult", package, "adult")
    run = tmp_path / "runs" / "night"
    run.mkdir(parents=True)
    (run / "journal.jsonl").write_text("")
    assert package_of(str(package), storage) == package
    assert package_of("adult", storage) == package_of("adult@1", storage) == release.package
    with pytest.raises(PackageError, match="has no package yet"):
        package_of("night", storage)
    (run / "package").mkdir()
    assert package_of("night", storage) == package_of(str(run), storage) == run / "package"
    with pytest.raises(ConfigError, match="nope is no package, no release and no run"):
        package_of("nope", storage)
    assert [each.version for each in registry.releases("adult")] == [1], "looking registers nothing"


def test_a_package_without_its_experiment_needs_the_targets_name(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    data = table(tmp_path / "other.parquet", people())
    with pytest.raises(ConfigError, match="does not say what it predicts"):
        judged(tmp_path / "package", data)
    assert judged(tmp_path / "package", data, target="rich").num_rows == 600
    assert reference_of(load_package(tmp_path / "package")) is None


def test_the_page_holds_all_and_no_text_of_it_runs(package: Path, tmp_path: Path) -> None:
    rows = people(seed=3)
    rows["branch"] = [NASTY if i % 2 else "south" for i in range(600)]
    rows["city"] = [NASTY if i % 3 == 0 else city for i, city in enumerate(rows["city"])]
    found = judged(package, table(tmp_path / "other.parquet", rows), by=["branch", "hours"])
    page = evaluation_page(found)
    body = re.sub(r"<script>/\*\*.*?</script>", "<script>plotly</script>", page, flags=re.DOTALL)
    assert NASTY not in body
    assert body.count("</script>") == 3  # figures, plotly, ours
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', body, re.DOTALL)[1])  # type: ignore[index]
    assert set(figures) == {"reliability", "slices0", "slices1", "shifts"}
    assert all(f'data-chart="{name}"' in body for name in figures)
    assert len(figures["slices1"]["data"][0]["x"]) == 4


def test_the_command_prints_text_json_and_a_page(package: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "other.parquet", people())
    page = tmp_path / "page.html"
    command = ["evaluate", str(package), "--data", data, "--by", "branch", "--resamples", "50"]
    said = manta(*command, "-o", str(page))
    assert said.returncode == 0, said.stderr
    for needed in ("accuracy", "95 % interval", "calibration", "branch", "moved since training"):
        assert needed in said.stdout
    assert page.read_text().startswith("<!doctype html>")
    printed = json.loads(manta(*command, "--json", "-q").stdout)
    assert printed["num_resamples"] == 50
    assert printed["scores"]["accuracy"]["low"] < printed["scores"]["accuracy"]["high"]
    wrong = manta("evaluate", str(package), "--data", data, "--rename-label", "yes")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "not of the form THEIRS=OURS" in wrong.stderr


def test_judging_loads_neither_torch_nor_ray() -> None:
    code = "import sys, cluster.evaluate; print([m for m in ('torch', 'ray', 'sklearn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    require_page(tmp_path / "page.html")
    for output in (tmp_path, tmp_path / "nowhere" / "page.html"):
        with pytest.raises(ConfigError, match="--output"):
            require_page(output)


def test_rows_that_cannot_be_read_are_left_out_and_told(package: Path, tmp_path: Path) -> None:
    rows = people()
    rows["age"] = ["old", *map(str, rows["age"][1:])]
    found = judged(package, table(tmp_path / "other.csv", rows))
    assert found.num_rows == 599
    assert "1 of 600 rows cannot be read and are left out: age: " in found.notes[0]
    with pytest.raises(DataError, match="does not exist"):
        judged(package, str(tmp_path / "nowhere.csv"))
