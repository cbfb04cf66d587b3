"""`manta compress` on what is packaged already: forms are added, and what was there stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from cluster.cli import app
from cluster.compress_package import Wanted, compress_package, settings_of, stored_settings
from cluster.place import Place
from serving.predictor import Predictor
from serving.registry import Registry
from tests.journeys.commands import manta
from training.errors import ConfigError, DataError
from training.package.errors import UserError
from training.package.manifest import FORMAT_VERSION
from training.package.read import load_package
from training.progress import Silent

KEPT = Path(__file__).parent.parent / "training" / "package"
QUICK = ("measure_s=0.02", "openvino=false", "qat=null")


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """A package of format 2: a regression with fp32 and int8."""
    shutil.copytree(KEPT / "written_by_v2" / "homes", tmp_path / "homes")
    return tmp_path / "homes"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Homes with their prices."""
    rng = np.random.default_rng(0)
    area, rooms = rng.uniform(20, 200, 200).round(1), rng.integers(1, 7, 200)
    price = (1000 * area + 5000 * rooms + rng.normal(0, 3000, 200)).round()
    table = pa.table({"area": area, "rooms": rooms, "zone": rng.choice(list("abc"), 200), "price": price})
    csv.write_csv(table, tmp_path / "homes.csv")
    return tmp_path / "homes.csv"


def compressed(model: Path | str, rows: Path | None, *settings: str, **more: Any) -> dict[str, Any]:
    wanted = Wanted(str(model), (*QUICK, *settings), str(rows) if rows else None, **more)
    return compress_package(wanted, Silent(), Place())


def test_forms_are_added_and_what_was_there_stays_to_the_byte(homes: Path, rows: Path) -> None:
    before, files = load_package(homes), {path: path.read_bytes() for path in homes.rglob("*") if path.is_file()}
    found = compressed(homes, rows, "forms=[fp16, int8_static]", "max_drop=0.5")
    assert found["added"] == ["fp16", "int8_static"]
    after = load_package(homes)
    assert after.manifest.format_version == FORMAT_VERSION
    assert after.manifest.variants[:2] == before.manifest.variants
    assert [variant.name for variant in after.manifest.variants] == ["fp32", "int8", "fp16", "int8_static"]
    for name, answers in before.golden.outputs.items():
        assert after.golden.outputs[name] == answers
    assert after.golden.inputs == before.golden.inputs
    changed = {path.relative_to(homes).as_posix() for path, content in files.items() if path.read_bytes() != content}
    assert changed == {"manifest.json", "golden.json", "MODEL_CARD.md"}
    (comparison,) = after.manifest.comparisons
    assert set(comparison.costs) == {"fp32", "int8", "int8_static", "fp16"}
    assert "other/rmse" in after.manifest.variant("fp16").metrics  # rows of ours are not its held-out ones
    for variant in after.manifest.variants:
        Predictor.load(homes, variant.name).self_test()


def test_once_more_on_the_same_machine_there_is_one_comparison(homes: Path, rows: Path) -> None:
    compressed(homes, rows, "forms=[fp16]")
    found = compressed(homes, rows, "forms=[]", "objective=size")
    manifest = load_package(homes).manifest
    assert found["added"] == []
    assert [comparison.objective for comparison in manifest.comparisons] == ["size"]
    assert found["chosen"] in ("fp32", "int8", "fp16")


def test_its_weights_can_be_pruned_where_its_own_data_is_there(tmp_path: Path) -> None:
    result = manta("compress", _experiment(tmp_path), "--quiet", cwd=tmp_path)  # it starts a Ray of its own
    assert result.returncode == 0, result.stderr
    package = tmp_path / "runs" / "flowers" / "package"
    assert result.stdout.strip() == str(package)
    options = ["--set", "prune.sparsity=[0.5]", "--set", "prune.epochs=1", "--set", "forms=[]"]
    quick = [part for setting in QUICK for part in ("--set", setting)]
    result = CliRunner().invoke(
        app, ["compress", "flowers", "--storage", str(tmp_path / "runs"), *options, *quick, "--json", "--quiet"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["package"], found["added"]) == (str(package), ["structured-50"])
    pruned = load_package(package).manifest.variant("structured-50")
    assert pruned.weights_removed_fraction > 0.3
    assert pruned.size_bytes < load_package(package).manifest.variant("fp32").size_bytes
    Predictor.load(package, "structured-50").self_test()
    assert '"compressed"' in (package.parent / "journal.jsonl").read_text()


def _experiment(folder: Path) -> Path:
    path = folder / "flowers.yaml"
    path.write_text(
        "name: flowers\n"
        f"storage: {folder / 'runs'}\n"
        "data: {source: 'sklearn:iris', target: target}\n"
        "model: {kind: mlp, hidden: [32, 32]}\n"
        "train: {epochs: 2}\n"
        "compress: {forms: [], openvino: false, measure_s: 0.02}\n"
    )
    return path


def test_a_new_form_may_be_chosen_by_rows_that_were_brought(homes: Path, rows: Path) -> None:
    found = compressed(homes, rows, "forms=[int4]", "objective=size", "max_drop=0.5", "max_slice_drop=9")
    assert found["chosen"] == "int4"
    assert "other/rmse" in (homes / "MODEL_CARD.md").read_text()


def test_several_labels_a_row_can_be_judged_by_other_rows(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "written_by_v2" / "notes", tmp_path / "notes")
    words = ["good", "bad", "fast", "slow", "cheap", "dear", "red", "blue"]
    rng = np.random.default_rng(0)
    texts = [list(rng.choice(words, 6)) for _ in range(80)]
    tags = ["|".join(tag for tag in ("fast", "cheap", "red") if tag in text) for text in texts]
    table = pa.table({"text": [" ".join(text) for text in texts], "stars": rng.integers(1, 6, 80), "tags": tags})
    csv.write_csv(table, tmp_path / "notes.csv")
    assert compressed(tmp_path / "notes", tmp_path / "notes.csv", "forms=[fp16]")["added"] == ["fp16"]


def test_settings_that_it_was_made_with_hold_until_others_are_given(homes: Path) -> None:
    before = stored_settings(homes)
    assert before["max_drop"] == 0.005
    assert settings_of(["objective=size"], before | {"max_drop": 0.25}).max_drop == 0.25
    assert settings_of([], {"max_drop": "of another version"}).max_drop == 0.005


def test_a_package_of_format_1_takes_forms_too(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "written_by_v1" / "table", tmp_path / "table")
    rng = np.random.default_rng(0)
    table = pa.table({"age": rng.integers(18, 80, 90), "hours": rng.integers(1, 80, 90),
                      "city": rng.choice(["Rome", "Oslo"], 90), "rich": rng.choice(["yes", "no"], 90)})  # fmt: skip
    csv.write_csv(table, tmp_path / "people.csv")
    found = compressed(tmp_path / "table", tmp_path / "people.csv", "forms=[fp16]", target="rich")
    assert found["added"] == ["fp16"]
    Predictor.load(tmp_path / "table", "fp16").self_test()


def test_another_folder_leaves_the_package_as_it_is(homes: Path, rows: Path, tmp_path: Path) -> None:
    before = (homes / "manifest.json").read_bytes()
    found = compressed(homes, rows, "forms=[fp16]", output=tmp_path / "smaller")
    assert found["package"] == str(tmp_path / "smaller")
    assert (homes / "manifest.json").read_bytes() == before
    assert "fp16" in {variant.name for variant in load_package(tmp_path / "smaller").manifest.variants}
    with pytest.raises(ConfigError, match="is a package already"):
        compressed(homes, rows, "forms=[fp16]", output=tmp_path / "smaller")
    compressed(homes, rows, "forms=[]", output=tmp_path / "smaller", force=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="is there already, and is no package"):
        compressed(homes, rows, output=tmp_path / "mine")


def test_a_release_never_changes(homes: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry(tmp_path / "runs" / "registry").register("homes", homes, "run")
    with pytest.raises(ConfigError, match="is a release, and releases never change"):
        compressed("homes@1", rows, storage=str(tmp_path / "runs"))
    release = Registry(tmp_path / "runs" / "registry").resolve("homes@1").package
    monkeypatch.chdir(release.parent)
    for model, output in ((release.name, None), (str(homes), release)):
        with pytest.raises(ConfigError, match="is a release, and releases never change"):
            compressed(model, rows, output=output, force=True)
    found = compressed(
        "homes@1", rows, "forms=[fp16]", storage=str(tmp_path / "runs"), output=tmp_path / "smaller"
    )  # fmt: skip
    assert found["added"] == ["fp16"]


def test_what_cannot_judge_is_an_error_that_says_what_can(homes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the data that .* was made of cannot be read") as caught:
        compressed(homes, None)
    assert "--data names another table" in caught.value.hint
    with pytest.raises(UserError, match=r"max_dop +is not a known key \(nearest: compress\.max_drop\)"):
        settings_of(["max_dop=1"])
    with pytest.raises(UserError, match="not of the form key=value"):
        settings_of(["max_drop"])
    (tmp_path / "homes.csv").write_text("area,rooms,zone,price\n1,2,a,3\n4,5,b,6\n")
    with pytest.raises(DataError, match="2 rows with a target are too few to judge by"):
        compressed(homes, tmp_path / "homes.csv")
