"""A package with further forms: only what was verified goes into it, and no form that somebody else added is lost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.packages import write_table_package
from tests.training.report.compressed_runs import comparison
from training.compress.job import CompressResult
from training.package.card_measured import SliceScore
from training.package.errors import PackageError
from training.package.manifest import CARD_FILE, EXPERIMENT_FILE, Manifest
from training.package.read import Package, load_package
from training.package.signature import SIGNING_VARIABLE, make_keys
from training.package.write import write_package
from training.repacking import extend_package

EXPERIMENT = {"name": "adult", "data": {"source": "adult.csv", "target": "income"}}
WITH_CARD = {CARD_FILE: b"# Card", EXPERIMENT_FILE: yaml.safe_dump(EXPERIMENT).encode()}


def with_form(package: Package, name: str) -> CompressResult:
    """What compression gives that makes one more form, with the bytes of fp32, judged on other rows, and chooses it."""
    first = package.manifest.variant("fp32")
    form = first.model_copy(update={"name": name, "file": f"variants/{name}.onnx", "metrics": {"other/accuracy": 0.75}})
    content = (package.folder / first.file).read_bytes()
    return CompressResult(
        (*package.manifest.variants, form), name, f"{name} is the best", comparison(), {form.file: content}, {}, {}
    )


def names(manifest: Manifest) -> list[str]:
    return [variant.name for variant in manifest.variants]


@pytest.mark.parametrize("target", ["package", "another"])
def test_a_file_that_was_altered_meanwhile_is_not_vouched_for(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIGNING_VARIABLE, str(make_keys(tmp_path / "keys")[0]))
    write_table_package(tmp_path / "package")
    package = load_package(tmp_path / "package")
    compressed, path = with_form(package, "new"), tmp_path / "package" / "variants" / "int8.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(PackageError, match=r"int8\.onnx changed since the package was read"):
        extend_package(package, compressed, tmp_path / target)
    assert not (tmp_path / "another").exists()
    with pytest.raises(PackageError, match="is altered: variants/int8"):
        load_package(tmp_path / "package")


def test_of_two_that_compress_at_once_the_first_is_kept_and_the_other_told(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    mine, other = load_package(tmp_path / "package"), load_package(tmp_path / "package")
    extend_package(mine, with_form(mine, "first"), tmp_path / "package")
    with pytest.raises(PackageError, match="package changed while it was compressed") as caught:
        extend_package(other, with_form(other, "second"), tmp_path / "package")
    assert caught.value.hint == "run it again: forms that are there by now are kept"
    assert names(load_package(tmp_path / "package").manifest) == ["fp32", "int8", "first"]
    again = load_package(tmp_path / "package")
    extend_package(again, with_form(again, "second"), tmp_path / "package")
    assert names(load_package(tmp_path / "package").manifest) == ["fp32", "int8", "first", "second"]


def test_a_link_to_the_package_is_the_package(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    (tmp_path / "link").symlink_to(tmp_path / "package")
    package = load_package(tmp_path / "package")
    compressed = with_form(package, "new")
    write_table_package(tmp_path / "package", bias=1.0)
    with pytest.raises(PackageError, match="link changed while it was compressed"):
        extend_package(package, compressed, tmp_path / "link")


def test_another_folder_takes_what_was_read_whatever_came_after(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    package = load_package(tmp_path / "package")
    extend_package(package, with_form(package, "first"), tmp_path / "package")
    extend_package(package, with_form(package, "second"), tmp_path / "another")
    assert names(load_package(tmp_path / "another").manifest) == ["fp32", "int8", "second"]


def carded(folder: Path, slices: Sequence[SliceScore] = ()) -> str:
    """The card of a package of 84 training rows that a form was added to."""
    first = write_table_package(folder, extra=WITH_CARD)
    counted = first.model_copy(update={"lineage": first.lineage.model_copy(update={"num_rows": {"train": 1084}})})
    write_package(folder, counted, {path: (folder / path).read_bytes() for path in first.sha256})
    package = load_package(folder)
    extend_package(package, replace(with_form(package, "new"), slices=tuple(slices)), folder)
    return (folder / CARD_FILE).read_text()


def test_the_card_of_a_form_that_was_judged_on_other_rows_says_so(tmp_path: Path) -> None:
    card = carded(tmp_path / "package")
    assert "other/accuracy **0.7500** (higher is better), on rows that were brought along, with the variant new" in card
    assert "| new | 0.7500 (other/accuracy) |" in card
    assert "| other/accuracy | - | - | 0.7500 |" in card
    assert "Scores that are named other/... are of rows that were brought along later." in card


def test_the_card_still_counts_the_rows(tmp_path: Path) -> None:
    assert "- Rows: 1,084 train\n" in carded(tmp_path / "package")


@pytest.mark.parametrize(("metric", "worst"), [("other/roc_auc", "c0"), ("other/log_loss", "c2")])
def test_the_worst_slice_is_the_one_with_the_worst_score_of_its_own(metric: str, worst: str, tmp_path: Path) -> None:
    slices = [SliceScore(metric, "city", f"c{i}", 10, i / 100) for i in range(3)]
    card = carded(tmp_path / "package", slices)
    _, _, below = card.partition(f"| column | value | rows | {metric} | 95 % interval |\n")
    assert below.splitlines()[1].startswith(f"| city | {worst} |")
