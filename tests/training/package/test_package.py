"""Packages: written whole or not at all, and refused when one byte differs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.packages import TABLE_INPUTS, write_image_package, write_regression_package, write_table_package
from training.package.digest import sealed_json
from training.package.errors import PackageError, PackageNotWritten
from training.package.exported import MARKS
from training.package.manifest import Manifest
from training.package.read import load_package, read_manifest, verify
from training.package.runtime import VariantRunner
from training.package.transforms import FeatureEncoder
from training.package.write import write_package

WRITERS: list[Callable[[Path], Manifest]] = [write_table_package, write_image_package, write_regression_package]


@pytest.mark.parametrize("write", WRITERS)
def test_a_package_reads_back_and_its_golden_rows_repeat(write: Callable[[Path], Manifest], tmp_path: Path) -> None:
    written = write(tmp_path / "package")
    package = load_package(tmp_path / "package")
    assert package.manifest == written
    assert package.golden.num_rows == 3
    tensors = FeatureEncoder(package.transforms)(package.golden.arrays(written.inputs))
    scores = VariantRunner(package.folder / written.variant().file)(tensors)
    answers = package.golden.outputs[written.chosen]
    np.testing.assert_array_equal(scores, np.array(answers.get("probabilities") or answers["prediction"], np.float32))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["package"]


def test_missing_golden_values_become_nan_and_none(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    arrays = load_package(tmp_path / "package").golden.arrays(TABLE_INPUTS)
    assert np.isnan(arrays["age"][1])
    assert arrays["city"].tolist() == ["Rome", "Atlantis", None]


def test_writing_again_replaces_the_package_and_clears_what_a_crash_left(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    write_table_package(folder, bias=0.1)
    crashed = tmp_path / ".package.partial-dead"
    (crashed / "variants").mkdir(parents=True)
    second = write_table_package(folder, bias=0.2)
    assert load_package(folder).manifest == second
    assert not crashed.exists()


def test_a_writer_that_fails_leaves_the_old_package(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    first = write_table_package(folder)
    files: dict[str, bytes | Path] = {name: folder / name for name in first.sha256}
    files["weights.safetensors"] = tmp_path / "nowhere"
    with pytest.raises(PackageNotWritten, match=r"cannot be written: No such file or directory \(.*nowhere\)"):
        write_package(folder, first, files)
    assert load_package(folder).manifest == first
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["package"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "manifest.json", "signature.json", "a//b"])
def test_a_path_outside_the_package_is_refused(name: str, tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    files: dict[str, bytes | Path] = {path: tmp_path / "package" / path for path in manifest.sha256}
    with pytest.raises(ValueError, match="cannot be the path"):
        write_package(tmp_path / "other", manifest, {**files, name: b""})
    with pytest.raises(ValueError, match=r"needs golden\.json, transforms\.json"):
        write_package(tmp_path / "other", manifest, {"variants/fp32.onnx": b"", "variants/int8.onnx": b""})


def test_a_missing_manifest_is_half_a_package(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    (tmp_path / "package" / "manifest.json").unlink()
    with pytest.raises(PackageError, match="half a package"):
        load_package(tmp_path / "package")


@pytest.mark.parametrize("mark", MARKS)
def test_an_export_is_said_to_be_one(tmp_path: Path, mark: str) -> None:
    for name in (mark, "transforms.json"):
        (tmp_path / name).touch()
    with pytest.raises(PackageError, match=f"is an export and no package: it has {mark} and no") as caught:
        load_package(tmp_path)
    assert "write it again" not in str(caught.value)
    assert "that it was exported from" in caught.value.hint


def test_what_is_no_package_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in [("nowhere", "no such folder"), ("file", "it is a file"), (".", "has no manifest.json")]:
        with pytest.raises(PackageError, match=reason):
            load_package(tmp_path / path)


def test_missing_extra_and_altered_files_are_all_named(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    write_table_package(folder)
    (folder / "golden.json").unlink()
    (folder / "variants" / "extra.onnx").touch()
    flip(folder / "variants" / "int8.onnx", 7)
    with pytest.raises(PackageError) as caught:
        load_package(folder)
    for reason in ("golden.json is missing", "variants/extra.onnx does not belong", "variants/int8.onnx is not as it"):
        assert reason in caught.value.message


def test_a_newer_format_names_both_versions(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    newer = sealed_json({**manifest.model_dump(mode="json"), "format_version": 7, "inputs": "shaped otherwise"})
    (tmp_path / "package" / "manifest.json").write_bytes(newer)
    with pytest.raises(PackageError, match=r"format_version 7, this version of manta reads up to 3") as caught:
        load_package(tmp_path / "package")
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"\xff", b'{"format_version": true, "a": 1}', b"[" * 100_000])
def test_an_unreadable_manifest_is_an_error(raw: bytes, tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    (tmp_path / "package" / "manifest.json").write_bytes(raw)
    with pytest.raises(PackageError, match=r"manifest\.json"):
        load_package(tmp_path / "package")


def test_a_sealed_manifest_that_does_not_fit_names_the_field(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package").model_dump(mode="json")
    (tmp_path / "package" / "manifest.json").write_bytes(sealed_json({**manifest, "task": "astrology"}))
    with pytest.raises(PackageError, match="task"):
        read_manifest(tmp_path / "package")


def test_a_variant_outside_the_digests_is_refused(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    unsafe = manifest.variants[0].model_copy(update={"file": "../evil.onnx"})
    with pytest.raises(PackageError, match=r"\.\./evil\.onnx has no digest"):
        verify(tmp_path / "package", manifest.model_copy(update={"variants": (unsafe,)}))


def test_a_file_that_is_no_model_is_a_package_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(PackageError, match="onnxruntime can load"):
        VariantRunner(tmp_path / "bad.onnx")


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    write_table_package(tmp_path / "copy")
    path = tmp_path / "copy" / "manifest.json"
    raw = path.read_bytes()
    for position in range(len(raw)):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        with pytest.raises(PackageError):
            read_manifest(tmp_path / "copy")
    path.write_bytes(json.dumps(json.loads(raw), indent=1).encode())  # the same content, laid out by another hand
    with pytest.raises(PackageError, match="altered"):
        read_manifest(tmp_path / "copy")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    files: dict[str, bytes | Path] = {path: tmp_path / "package" / path for path in manifest.sha256}
    golden = load_package(tmp_path / "package").golden

    def refused(reason: str, changed: Manifest = manifest, **other: bytes) -> None:
        write_package(tmp_path / "other", changed, {**files, **{f"{name}.json": raw for name, raw in other.items()}})
        with pytest.raises(PackageError, match=f"contradicts itself: {reason}"):
            load_package(tmp_path / "other")

    swapped = manifest.model_copy(update={"labels": ("yes", "no")})
    refused("its labels are yes, no and those of golden.json no, yes", swapped)
    refused("manifest.json chooses int4, and there is fp32, int8", manifest.model_copy(update={"chosen": "int4"}))
    refused("transforms.json takes age, and", manifest.model_copy(update={"inputs": manifest.inputs[1:]}))
    fewer = golden.model_copy(update={"inputs": {"age": [1.0], "hours": [2.0]}})
    refused("golden.json has no city", golden=fewer.model_dump_json().encode())


def flip(path: Path, position: int, mask: int = 1) -> None:
    """Change one byte of a file in place."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= mask
    path.write_bytes(bytes(raw))
