"""docs/package.md: its example runs, and it leaves no key out."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.packages import write_table_package
from training.package.digest import sealed_json
from training.package.fitted import Transforms
from training.package.golden import Golden
from training.package.machine import Machine
from training.package.manifest import (
    Comparison,
    Cost,
    InputSpec,
    Latency,
    Lineage,
    Manifest,
    OutputSpec,
    Quality,
    SliceDrop,
    Variant,
)
from training.package.signature import SignatureFile

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs" / "package.md").read_text(encoding="utf-8")
SHAPES: list[type[BaseModel]] = [
    Manifest, InputSpec, OutputSpec, Variant, Latency, Quality, SliceDrop, Comparison, Cost, Machine, Lineage,
    SignatureFile, Golden, Transforms,
]  # fmt: skip


def answered(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the example says of a package, in a process that knows nothing of Manta."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    command = [sys.executable, "-I", "-c", example, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_the_example_answers_packages_of_every_format(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    for folder in (tmp_path / "package", HERE / "written_by_v1" / "table"):
        done = answered(folder)
        assert done.returncode == 0, done.stderr
        labels = json.loads((folder / "golden.json").read_text())["outputs"]["fp32"]["label"]
        assert [line.split()[0] for line in done.stdout.splitlines()] == labels


@pytest.mark.parametrize("name", ["manifest.json", "variants/fp32.onnx", "transforms.json"])
def test_the_example_refuses_what_is_altered(name: str, tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    path = tmp_path / "package" / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    assert "altered" in answered(tmp_path / "package").stderr


def test_the_example_refuses_what_is_newer_or_too_much(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    shutil.copytree(tmp_path / "package", tmp_path / "more")
    (tmp_path / "more" / "extra").touch()
    assert "missing, or too much" in answered(tmp_path / "more").stderr
    newer = {**manifest.model_dump(mode="json"), "format_version": 4}
    (tmp_path / "package" / "manifest.json").write_bytes(sealed_json(newer))
    assert "newer format" in answered(tmp_path / "package").stderr


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_key_is_documented(shape: type[BaseModel]) -> None:
    said = set(re.findall(r"`([\w.]+)`", PAGE))
    assert set(shape.model_fields) <= said, f"{shape.__name__}: {sorted(set(shape.model_fields) - said)}"
