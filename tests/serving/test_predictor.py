"""Predictor: the same answers by every way in, and no answer from a package that is not what it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serving.errors import BadInput
from serving.predictor import ROWS_PER_CALL, Predictor
from tests.packages import TABLE_ROWS, write_table_package
from tests.serving.asking import Model
from training.package.errors import PackageError
from training.package.golden import Golden
from training.package.manifest import Manifest
from training.package.read import load_package
from training.package.write import write_package


def rewritten(folder: Path, *, golden: dict[str, Any] | None = None, tolerance: float = 1e-4) -> Path:
    """The package again, whole and properly digested, but with other golden rows or tolerance."""
    package = load_package(folder)
    variants = tuple(variant.model_copy(update={"tolerance": tolerance}) for variant in package.manifest.variants)
    manifest: Manifest = package.manifest.model_copy(update={"variants": variants})
    files: dict[str, bytes | Path] = {name: folder / name for name in manifest.sha256}
    if golden is not None:
        files["golden.json"] = Golden.model_validate(golden).model_dump_json().encode()
    target = folder.parent / "rewritten"
    write_package(target, manifest, files)
    return target


def test_table_records_and_arrays_agree(table: Model) -> None:
    predictor = table.predictor
    by_table = predictor.predict_table(pa.table({**TABLE_ROWS, "not an input": [1, 2, 3]}))
    by_records = predictor.predict_records(
        [dict(zip(TABLE_ROWS, row, strict=True)) for row in zip(*TABLE_ROWS.values(), strict=True)]
    )
    assert by_table.column_names == ["label", "probability_no", "probability_yes"]
    assert by_table["label"].to_pylist() == [record["label"] for record in by_records]
    assert by_table["probability_yes"].to_pylist() == [record["probabilities"]["yes"] for record in by_records]


def test_a_regression_predicts_numbers(regression: Model) -> None:
    rows = {name: TABLE_ROWS[name] for name in ("age", "hours")}
    predictions = regression.predictor.predict_table(pa.table(rows))["prediction"].to_pylist()
    assert predictions[0] == regression.predictor.predict_records([{"age": 25.0, "hours": 40.0}])[0]["prediction"]


def test_more_rows_than_one_call_takes(regression: Model) -> None:
    ages = np.arange(ROWS_PER_CALL + 3, dtype=np.float32) % 70
    answers = regression.predictor.predict({"age": ages, "hours": ages})["prediction"]
    assert answers.shape == ages.shape
    np.testing.assert_allclose(answers[ROWS_PER_CALL:], regression.predictor.predict(
        {"age": ages[ROWS_PER_CALL:], "hours": ages[ROWS_PER_CALL:]})["prediction"], rtol=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"age": [1.0], "hours": [1.0]}, "'city' is missing"),
        ({"age": ["x"], "hours": [1.0], "city": ["Rome"]}, "a numeric column holds something else"),
        ({"age": [float("inf")], "hours": [1.0], "city": ["Rome"]}, "beyond the range of float32"),
        ({"age": [], "hours": [], "city": []}, "the table has no rows"),
    ],
)
def test_bad_tables_are_refused(columns: dict[str, Any], reason: str, table: Model) -> None:
    with pytest.raises(BadInput, match=reason):
        table.predictor.predict_table(pa.table(columns))


def test_absurd_numbers_spoil_nobody_elses_answer(table: Model) -> None:
    one = {"age": np.array([39.0]), "hours": np.array([40.0]), "city": np.array(["Rome"], dtype=object)}
    both = {
        "age": np.array([39.0, 3e38]),
        "hours": np.array([40.0, -3e38]),
        "city": np.array(["Rome", "?"], dtype=object),
    }
    answers = table.predictor.predict(both)["probabilities"]
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(answers[:1], table.predictor.predict(one)["probabilities"], rtol=1e-6)


def test_self_test_passes_and_warm_up_measures(table: Model) -> None:
    table.predictor.self_test()
    assert 0 < table.predictor.warm_up()(1) < 1


def test_other_answers_to_golden_rows_are_refused(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    golden["outputs"]["fp32"]["probabilities"][1][0] += 0.01
    with pytest.raises(PackageError, match=r"variant fp32 answers its golden rows otherwise here: .* differ by 0\.01"):
        Predictor.load(rewritten(tmp_path / "package", golden=golden)).self_test()


def test_another_label_or_no_golden_rows_are_refused(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    golden["outputs"]["fp32"]["label"][2] = "maybe"
    with pytest.raises(PackageError, match="golden row 2 is 'maybe'"):
        Predictor.load(rewritten(tmp_path / "package", golden=golden)).self_test()
    with pytest.raises(PackageError, match="no golden rows for variant fp32"):
        Predictor.load(rewritten(tmp_path / "package", golden={"inputs": {}, "outputs": {}})).self_test()


def test_variants_by_name(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    int8 = Predictor.load(tmp_path / "package", variant="int8")
    int8.self_test()
    assert int8.variant.name == "int8"
    with pytest.raises(PackageError, match="no variant 'int4'; it has fp32, int8"):
        Predictor.load(tmp_path / "package", variant="int4")
