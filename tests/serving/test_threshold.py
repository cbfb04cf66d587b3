"""A threshold in the package decides the label, in every way of asking, and golden rows hold it to that."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serving.predictor import Predictor
from tests.packages import TABLE_ROWS, write_table_package
from tests.serving.asking import Model
from training.package.decision import answers
from training.package.errors import PackageError
from training.package.golden import Golden
from training.package.manifest import MANIFEST_FILE
from training.package.read import load_package
from training.package.write import write_package


def with_threshold(folder: Path, threshold: float | None, golden_threshold: float | None = None) -> Path:
    """The package again with this threshold; its golden labels may be of another one."""
    package = load_package(folder)
    golden = json.loads((folder / "golden.json").read_text())
    for outputs in golden["outputs"].values():
        ids = answers(np.array(outputs["probabilities"], np.float32), golden_threshold or threshold)
        outputs["label"] = [package.manifest.labels[i] for i in ids]
    files: dict[str, bytes | Path] = {name: folder / name for name in package.manifest.sha256}
    files["golden.json"] = Golden.model_validate(golden).model_dump_json().encode()
    target = folder.parent / "again"
    write_package(target, package.manifest.model_copy(update={"threshold": threshold}), files)
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table_package(tmp_path / "package")
    return tmp_path / "package"


def probabilities(folder: Path) -> list[float]:
    return Predictor.load(folder).predict_table(pa.table(TABLE_ROWS))["probability_yes"].to_pylist()


def test_a_probability_that_reaches_it_is_positive_and_one_below_is_not(folder: Path) -> None:
    low, middle, high = sorted(probabilities(folder))
    for threshold, num_positive in ((middle, 2), (np.nextafter(np.float32(middle), np.float32(1)), 1), (low / 2, 3)):
        predictor = Predictor.load(with_threshold(folder, float(threshold)))
        predictor.self_test()
        table = predictor.predict_table(pa.table(TABLE_ROWS))
        labels = dict(zip(table["probability_yes"].to_pylist(), table["label"].to_pylist(), strict=True))
        assert [labels[p] for p in (low, middle, high)] == ["no"] * (3 - num_positive) + ["yes"] * num_positive
        records = [dict(zip(TABLE_ROWS, row, strict=True)) for row in zip(*TABLE_ROWS.values(), strict=True)]
        assert [record["label"] for record in predictor.predict_records(records)] == table["label"].to_pylist()


def test_golden_labels_of_another_threshold_are_refused(folder: Path) -> None:
    low, middle, high = sorted(probabilities(folder))
    far = with_threshold(folder, (low + middle) / 2, golden_threshold=(middle + high) / 2)
    with pytest.raises(PackageError, match=r"golden row \d is 'no', by its own probabilities 'yes'"):
        Predictor.load(far).self_test()
    near = with_threshold(folder, middle - 5e-5, golden_threshold=middle + 5e-5)
    with pytest.raises(PackageError, match=r"golden row \d is"):  # each label by the probability beside it, exactly
        Predictor.load(near).self_test()
    Predictor.load(with_threshold(folder, middle, golden_threshold=middle)).self_test()


def test_the_protocol_tells_it(folder: Path) -> None:
    def told(of: Path) -> Any:
        return json.loads(Model(of).ask("GET", "").body)["parameters"]["threshold"]

    assert told(folder) is None
    assert told(with_threshold(folder, 0.25)) == 0.25


def test_a_manifest_without_it_is_read_as_one_that_has_none(folder: Path) -> None:
    package = load_package(folder)
    raw = json.loads((folder / MANIFEST_FILE).read_text())
    del raw["threshold"]
    assert type(package.manifest).model_validate(raw).threshold is None
