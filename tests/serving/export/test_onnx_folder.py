"""ONNX for elsewhere: a folder that plain ONNX Runtime answers from, whole or not at all."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from serving.export.onnx_folder import export_onnx
from tests.packages import write_image_package, write_quantized_package, write_regression_package, write_table_package
from tests.serving.test_predictor import rewritten
from training.package.errors import PackageError, PackageNotWritten
from training.package.exported import NotExported
from training.package.read import load_package

FILES = ["golden.json", "model.json", "model.onnx", "transforms.json"]


@pytest.mark.parametrize("write", [write_table_package, write_image_package, write_regression_package])
def test_the_folder_answers_in_plain_onnxruntime(write: object, tmp_path: Path) -> None:
    manifest = write(tmp_path / "package")  # type: ignore[operator]
    folder = export_onnx(tmp_path / "package", tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    about = json.loads((folder / "model.json").read_text())
    session = ort.InferenceSession(folder / about["file"], providers=["CPUExecutionProvider"])
    props = session.get_modelmeta().custom_metadata_map
    assert json.loads(props["manta.labels"]) == about["labels"] == list(manifest.labels)
    assert props["manta.transforms_sha256"] == about["transforms_sha256"] == manifest.sha256["transforms.json"]
    assert (props["manta.name"], props["manta.variant"]) == (manifest.name, "fp32")
    one = {name: np.zeros((1, *spec["shape"]), spec["dtype"]) for name, spec in about["tensors"].items()}
    assert session.run(["scores"], one)[0].shape[0] == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_the_variant_asked_for_is_exported_with_its_own_answers(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    export_onnx(tmp_path / "package", tmp_path / "out", "int8")
    golden = json.loads((tmp_path / "out" / "golden.json").read_text())
    assert list(golden["outputs"]) == ["int8"]
    with pytest.raises(NotExported, match="no ONNX variant 'int4'") as caught:
        export_onnx(tmp_path / "package", tmp_path / "other", "int4")
    assert caught.value.hint == "it has: fp32, int8"


def test_what_is_there_is_replaced_only_by_force_and_only_an_export(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    (tmp_path / "out").mkdir()
    export_onnx(tmp_path / "package", tmp_path / "out")  # an empty folder is free
    with pytest.raises(NotExported, match="is there already"):
        export_onnx(tmp_path / "package", tmp_path / "out")
    export_onnx(tmp_path / "package", tmp_path / "out", "int8", force=True)
    assert json.loads((tmp_path / "out" / "model.json").read_text())["variant"] == "int8"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(NotExported, match="holds other things than an export"):
        export_onnx(tmp_path / "package", tmp_path / "home", force=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    with pytest.raises(NotExported, match="is a file"):
        export_onnx(tmp_path / "package", tmp_path / "home" / "letter.txt", force=True)
    with pytest.raises(NotExported, match="lies inside the package"):
        export_onnx(tmp_path / "package", tmp_path / "package" / "export")
    with pytest.raises(PackageNotWritten, match="cannot be written: File exists"):
        export_onnx(tmp_path / "package", tmp_path / "home" / "letter.txt" / "deeper")
    load_package(tmp_path / "package")


def test_a_model_that_answers_otherwise_is_not_exported(tmp_path: Path) -> None:
    write_quantized_package(tmp_path / "package")
    wrong = rewritten(
        tmp_path / "package", files={"variants/int8.onnx": (tmp_path / "package/variants/fp32.onnx").read_bytes()}
    )
    strict = load_package(wrong).manifest.variants
    wrong = rewritten(wrong, variants=tuple(each.model_copy(update={"tolerance": 1e-7}) for each in strict))
    with pytest.raises(PackageError, match="answers its golden rows otherwise"):
        export_onnx(wrong, tmp_path / "out", "int8")
    assert not (tmp_path / "out").exists()
    shutil.rmtree(wrong)
    noise = rewritten(tmp_path / "package", files={"variants/fp32.onnx": b"noise"})
    with pytest.raises(PackageError, match="is not a model that onnxruntime can load"):
        export_onnx(noise, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_golden_rows_are_needed(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    bare = rewritten(tmp_path / "package", golden={"inputs": {}, "outputs": {}})
    with pytest.raises(PackageError, match="no golden rows, so no export of it can be checked"):
        export_onnx(bare, tmp_path / "out")
