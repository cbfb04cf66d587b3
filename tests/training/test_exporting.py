"""A package as a program of torch.export: made again from its weights, right to the golden rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from tests.packages import write_table_package
from tests.serving.test_predictor import rewritten
from training.exporting import export_pt2
from training.package.errors import PackageError
from training.package.exported import NotExported, golden_tensors
from training.package.read import load_package

V2 = Path(__file__).parent / "package" / "written_by_v2"


@pytest.mark.parametrize("name", ["table", "homes", "notes", "image"])
def test_torch_alone_answers_with_any_number_of_rows(name: str, tmp_path: Path) -> None:
    """`homes` is a regression, whose unit older packages hold in the graph alone."""
    package = load_package(V2 / name)
    folder = export_pt2(V2 / name, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "golden.json",
        "model.json",
        "model.pt2",
        "transforms.json",
    ]
    module = torch.export.load(folder / "model.pt2").module()
    tensors = [torch.from_numpy(values.copy()) for values in golden_tensors(package).values()]
    answers = package.golden.outputs["fp32"]
    expected = np.array(answers.get("probabilities") or answers["prediction"], np.float32)
    for num_rows in (1, 3, len(expected)):
        scores = module(*(values[:num_rows] for values in tensors)).detach().numpy()
        np.testing.assert_allclose(scores, expected[:num_rows], atol=package.manifest.variant("fp32").tolerance)
    assert json.loads((folder / "model.json").read_text())["file"] == "model.pt2"


def test_other_weights_are_noticed(tmp_path: Path) -> None:
    shutil.copytree(V2 / "table", tmp_path / "package")
    weights = load_file(tmp_path / "package" / "weights.safetensors")
    moved = rewritten(
        tmp_path / "package", files={"weights.safetensors": save({k: v + 0.5 for k, v in weights.items()})}
    )
    with pytest.raises(PackageError, match="answers its golden rows otherwise"):
        export_pt2(moved, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    fewer = save(dict(list(weights.items())[1:]))
    with pytest.raises(NotExported, match=r"weights\.safetensors does not fit the model"):
        export_pt2(rewritten(tmp_path / "package", files={"weights.safetensors": fewer}), tmp_path / "out")
    with pytest.raises(NotExported, match="cannot be read"):
        export_pt2(rewritten(tmp_path / "package", files={"weights.safetensors": b"?"}), tmp_path / "out")


def test_the_unit_that_stands_beside_the_weights_is_taken(tmp_path: Path) -> None:
    """A wrong one is taken at its word, and then the golden rows tell."""
    weights = load_file(V2 / "homes" / "weights.safetensors")
    shutil.copytree(V2 / "homes", tmp_path / "package")
    noted = save(weights, metadata={"target_mean": "0", "target_scale": "1"})
    with pytest.raises(PackageError, match="answers its golden rows otherwise"):
        export_pt2(rewritten(tmp_path / "package", files={"weights.safetensors": noted}), tmp_path / "out")


def test_what_a_package_lacks_is_named(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    with pytest.raises(NotExported, match=r"has no weights\.safetensors"):
        export_pt2(tmp_path / "package", tmp_path / "out")
    write_table_package(tmp_path / "package", extra={"weights.safetensors": save({"w": torch.zeros(1)})})
    with pytest.raises(NotExported, match=r"has no experiment\.yaml"):
        export_pt2(tmp_path / "package", tmp_path / "out")
    extra = {"weights.safetensors": save({"w": torch.zeros(1)}), "experiment.yaml": b"model: {kind: astrolabe}"}
    write_table_package(tmp_path / "package", extra=extra)
    with pytest.raises(NotExported, match=r"experiment\.yaml describes no model"):
        export_pt2(tmp_path / "package", tmp_path / "out")
    with pytest.raises(NotExported, match="no variant 'int8' that can be a torch program") as caught:
        export_pt2(tmp_path / "package", tmp_path / "out", "int8")
    assert caught.value.hint == "there are: fp32"


def test_a_torch_variant_is_copied_as_it_is(tmp_path: Path) -> None:
    program = export_pt2(V2 / "table", tmp_path / "first") / "model.pt2"
    shutil.copytree(V2 / "table", tmp_path / "package")
    manifest = load_package(tmp_path / "package").manifest
    on_torch = manifest.variant("fp32").model_copy(
        update={"name": "fp32@torch", "file": "variants/fp32.pt2", "runtime": "torch"}
    )
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    golden["outputs"]["fp32@torch"] = golden["outputs"]["fp32"]
    with_torch = rewritten(
        tmp_path / "package", golden=golden, variants=(*manifest.variants, on_torch), chosen="fp32@torch",
        files={"variants/fp32.pt2": program.read_bytes()},
    )  # fmt: skip
    copied = export_pt2(with_torch, tmp_path / "out")
    assert (copied / "model.pt2").read_bytes() == program.read_bytes()
    assert json.loads((copied / "model.json").read_text())["variant"] == "fp32@torch"
