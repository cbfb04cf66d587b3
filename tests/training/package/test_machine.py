"""The machine: a GPU that this process may not use is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.package import machine
from training.package.machine import this_machine


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A node whose nvidia-smi shows a GPU to everybody, as it does."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 9.0'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(machine, "DEVICES", (tool,))
    this_machine.cache_clear()
    yield
    this_machine.cache_clear()


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", " -1", "-1,0"])
def test_a_process_without_a_gpu_of_its_own_has_none(visible: str, node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = this_machine()
    assert (found.gpu, found.compute_capability) == ("", "")
    assert "H200" not in found.description


@pytest.mark.parametrize("visible", [None, "0", "1,0", "GPU-0c5b"])
def test_another_process_of_that_node_has_one(visible: str | None, node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (this_machine().gpu, this_machine().compute_capability) == ("NVIDIA H200", "9.0")
