"""A command as a job on a real cluster: `ray start --head`, HTTP, and the job's own exit code."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import submit
from training.package.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
START_S = 60


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of a cluster of one node, with ports and a folder of its own."""
    gcs, dashboard_port, agent, agent_grpc, client, metrics = free_ports(6)
    folder = Path(f"/tmp/mt{os.getpid()}")  # Ray's sockets need a short path
    ports = {
        "--port": gcs,
        "--dashboard-port": dashboard_port,
        "--dashboard-agent-listen-port": agent,
        "--dashboard-agent-grpc-port": agent_grpc,
        "--ray-client-server-port": client,
        "--metrics-export-port": metrics,
    }
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder}", "--disable-usage-stats"]
    command += [f"{option}={port}" for option, port in ports.items()]
    # No drain at the end: there is nobody to take the work over.
    short = environment() | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0", "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(command, env=short, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{dashboard_port}"
    try:
        deadline = time.monotonic() + START_S
        while manta("status", "--address", address).returncode != 0:
            assert head.poll() is None
            assert time.monotonic() < deadline, "the cluster did not come up"
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def manta(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster", *arguments]
    env = environment() | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text("name: tiny\ndata: {source: 'sklearn:iris', target: target}\n")
    return tmp_path


@pytest.mark.own_cluster
def test_a_job_shows_its_log_and_exits_as_its_command(dashboard: str, project: Path) -> None:
    good = manta("submit", "--address", dashboard, "--", "check", "tiny.yaml", cwd=project)
    assert good.returncode == 0, good.stderr
    assert "tiny.yaml is fine" in good.stdout
    bad = manta("submit", "--address", dashboard, "--", "check", "tiny.yaml", "--set", "train.epoch=1", cwd=project)
    assert bad.returncode == 2
    assert "nearest: train.epochs" in bad.stdout
    listed = json.loads(manta("status", "--address", dashboard, "--json").stdout)
    assert [job["exit_code"] for job in listed] == [2, 0]


@pytest.mark.own_cluster
@pytest.mark.slow
def test_a_run_trains_there_and_can_be_stopped_and_goes_on(dashboard: str, project: Path) -> None:
    storage = project / "kept"
    command = ["train", "tiny.yaml", "--storage", str(storage), "--set", "train.epochs=3"]
    sent = manta("submit", "--address", dashboard, "--no-wait", "--", *command, cwd=project)
    job = sent.stdout.strip()
    assert re.fullmatch(r"raysubmit_\w+", job), sent.stderr
    assert manta("stop", job, "--address", dashboard).returncode == 0
    assert json.loads(manta("status", job, "--address", dashboard, "--json").stdout)["status"] == "STOPPED"
    again = manta("submit", "--address", dashboard, "--", *command, cwd=project)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "epoch 3/3" in again.stdout
    (run,) = json.loads(manta("runs", "--storage", str(storage), "--json").stdout)
    assert run["state"] == "finished"


@pytest.mark.own_cluster
def test_a_job_that_is_not_there(dashboard: str) -> None:
    for command in ("logs", "stop", "status"):
        missing = manta(command, "nope", "--address", dashboard)
        assert missing.returncode == 3
        assert "there is no job nope on this cluster" in missing.stderr


def test_a_cluster_that_starts_no_jobs_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after `ray start` its dashboard answers, and the agent that starts jobs is not there."""
    monkeypatch.setattr(submit, "POLL_S", 0.01)
    answers = iter([RuntimeError("status code 500: No available agent to submit job, please try again later.")] * 3)

    def start() -> str:
        if (error := next(answers, None)) is not None:
            raise error
        return "job-1"

    assert submit._started(start) == "job-1"
    assert next(answers, None) is None
    monkeypatch.setattr(submit, "AGENT_WAIT_S", 0.0)
    for text in ("No available agent to submit job", "status code 500: the disk is full"):
        with pytest.raises(RuntimeError, match=text):
            submit._started(lambda text=text: (_ for _ in ()).throw(RuntimeError(text)))


def test_a_package_to_compress_lies_where_the_job_runs(tmp_path: Path) -> None:
    submit.check_arguments(["compress", "adult@3", "--output", "/mnt/smaller"], tmp_path, set())
    with pytest.raises(UserError, match=r"adult\.yaml does not exist"):
        submit.check_arguments(["compress", "adult.yaml"], tmp_path, set())
