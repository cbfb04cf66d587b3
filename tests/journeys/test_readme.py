"""The README does what it says: its shell and Python blocks run, in order, in a copy of the project."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.commands import ROOT, environment, processes_of

# `make test` would run this test again; `ray stop` ends every Ray of the machine, so the test ends these by itself.
PREAMBLE = """
set -euo pipefail
make() { if [ "$1" = test ]; then command make --dry-run test; else command make "$@"; fi; }
ray() { if [ "$1" = stop ]; then echo "left to the test"; else command ray "$@"; fi; }
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """The files that git knows, and the environment that is installed already."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\n"):
        if name and (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    yield tmp_path
    for pid in processes_of(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)
    # `ray start` named its cluster here, and `ray.init()` of whoever comes next would wait for it.
    Path("/tmp/ray/ray_current_cluster").unlink(missing_ok=True)


def run(copy: Path, *command: str) -> str:
    # The README's own folder may hold somebody's runs.
    command = tuple(word.replace("/tmp/manta-runs", str(copy / "shared-runs")) for word in command)
    variables = environment(str(copy)) | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MAKEFLAGS": "--old-file=.venv/.installed",  # nothing is installed from here
    }
    log = copy / "output.log"
    with log.open("ab") as file:
        began = file.tell()
        done = subprocess.run(command, cwd=copy, env=variables, stdout=file, stderr=file, timeout=400, check=False)
    said = log.read_bytes()[began:].decode()
    assert done.returncode == 0, said
    return said


@pytest.mark.slow
@pytest.mark.own_cluster
def test_readme_blocks_run_in_order(copy: Path) -> None:
    first, local, smaller, curve, evaluate, job, http = blocks("sh")
    (python,) = blocks("python")
    said = run(copy, "bash", "-c", PREAMBLE + first)
    score = re.search(r"test/accuracy\s+(\d\.\d+)", said)
    assert score, said
    assert float(score[1]) >= 0.97
    assert "finished" in run(copy, "bash", "-c", PREAMBLE + local)
    said = run(copy, "bash", "-c", PREAMBLE + smaller)
    assert "wine@1 is the package as it was" in said, said
    assert (copy / "wine-onnx" / "model.onnx").exists()
    assert "'label'" in run(copy, sys.executable, "-c", python)
    said = run(copy, "bash", "-c", PREAMBLE + curve)
    assert "Gap:" in said or "nothing is wrong" in said, said
    assert "balanced_accuracy" in run(copy, "bash", "-c", PREAMBLE + evaluate)
    assert "succeeded" in run(copy, "bash", "-c", PREAMBLE + job)
    assert '"probabilities"' in run(copy, "bash", "-c", PREAMBLE + http)
    deadline = time.monotonic() + 30
    while "deploy" in str(processes_of(str(copy)).values()):
        assert time.monotonic() < deadline, "the endpoint did not end"
        time.sleep(0.3)


def test_every_command_of_the_readme_exists() -> None:
    """Fast, so that a renamed command fails at once and not only in the slow test."""
    helped = subprocess.run(
        [sys.executable, "-m", "cluster", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^  (\w+)  ", helped.stdout, flags=re.MULTILINE))
    used = set(re.findall(r"^manta (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert used
    assert used <= known


def test_the_readmes_config_is_the_one_that_ships() -> None:
    assert (ROOT / "configs" / "digits.yaml").read_text() in blocks("yaml")
