"""Paths look the same to our handlers behind Serve's own proxy, which is what a cluster without HAProxy has."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages import write_table_package

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.own_cluster
def test_the_endpoint_answers_behind_serves_own_proxy(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Another test's session leaves its Serve variables, HAProxy's switch among them, in this process.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.default_proxy", str(tmp_path / "package"), str(port)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "label=no" in done.stdout.splitlines()
