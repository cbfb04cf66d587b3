"""keys, sign and export as a person types them."""

import json
from pathlib import Path

import pytest

from tests.cluster.test_cli import manta
from tests.packages import write_table_package
from training.package.read import load_package
from training.package.signature import TRUST_VARIABLE


def test_keys_sign_and_a_deployment_that_trusts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table_package(tmp_path / "package")
    made = manta("keys", "keys", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    keys = json.loads(made.stdout)
    again = manta("keys", "keys", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    signed = manta("sign", "package", "--key", keys["private"], cwd=tmp_path)
    assert (signed.returncode, signed.stdout) == (0, "package/signature.json\n"), signed.stderr
    assert f"signed by {keys['fingerprint']}" in signed.stderr
    monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path / keys["public"]))
    load_package(tmp_path / "package")
    write_table_package(tmp_path / "unsigned")
    refused = manta("export", "unsigned", "--format", "onnx", "-o", "out", cwd=tmp_path)
    assert refused.returncode == 2
    assert "has no signature" in refused.stderr


def test_export_prints_the_folder_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    done = manta("export", "package", "--format", "onnx", "-o", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "out\n"), done.stderr
    assert (tmp_path / "out" / "model.onnx").is_file()
    again = manta("export", "package", "--format", "onnx", "-o", "out", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force replaces it" in again.stderr
    for arguments, reason in (
        (["package", "--format", "tflite", "-o", "x"], "tflite"),
        (["package", "--format", "onnx", "-o", "x", "--code", "."], "--code is for --format pt2"),
        (["nowhere", "--format", "onnx", "-o", "x"], "nowhere is no package, no release and no run"),
    ):
        wrong = manta("export", *arguments, cwd=tmp_path)
        assert wrong.returncode == 2
        assert reason in wrong.stderr
