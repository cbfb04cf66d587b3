"""What only whole processes can show: writers that are killed, disks that are full, workers that share tensors out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def ran(*command: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_a_killed_writer_made_safe_is_found_intact(tmp_path: Path) -> None:
    seen = json.loads(ran(sys.executable, str(HERE / "killed_writer.py"), str(tmp_path / "checkpoints")))
    assert len(seen["steps"]) == 10
    assert seen["steps"] == sorted(set(seen["steps"]))  # each writer went on from the one before
    assert seen["num_amid"] >= 1
    assert seen["left"] == []


def may_mount() -> bool:
    try:
        ran("unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=6m", "none", "/mnt")
    except (AssertionError, OSError):
        return False
    return True


def test_a_full_disk_is_waited_out_then_reported(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or not may_mount():
        pytest.skip("no file system of a few megabytes can be mounted here")
    command = 'mount -t tmpfs -o size=6m none "$2" && exec "$0" "$1" "$2"'
    said = ran("unshare", "-rm", "sh", "-c", command, sys.executable, str(HERE / "full_disk.py"), str(tmp_path))
    assert "last good checkpoint is" in said
    assert said.endswith("all seen\n")


def test_shared_out_tensors_come_back_at_any_number_of_workers(tmp_path: Path) -> None:
    assert ran(sys.executable, str(HERE / "shard_ranks.py"), str(tmp_path / "runs"), str(tmp_path)) == "all seen\n"


@pytest.mark.slow
def test_shared_out_tensors_in_an_object_store(tmp_path: Path, s3_options: str) -> None:
    uri = f"s3://data/shards{s3_options}"
    assert ran(sys.executable, str(HERE / "shard_ranks.py"), uri, str(tmp_path)) == "all seen\n"
