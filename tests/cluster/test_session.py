"""A local Ray ends with the process that started it, whatever ends that process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from cluster import reaper
from cluster.errors import ClusterError
from cluster.session import connect, target_of

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import time
from cluster.session import connect
from ray import serve
from serving.config import start_options
from training.package.serve_config import ServeConfig

@serve.deployment
class Echo:
    async def __call__(self, request):
        return "hello"

with connect("local", num_cpus=2):
    serve.start(**start_options(ServeConfig(port=PORT), is_local=True))
    serve.run(Echo.bind())
    print("up", flush=True)
    time.sleep(300)
"""


def marked(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                f"TEST_MARK={mark}".encode() in (process / "environ").read_bytes()
                and (process / "cmdline").read_bytes()
            ):
                found.append((process / "comm").read_text())
        except OSError:
            continue  # it ended while we looked
    return found


@pytest.mark.own_cluster
@pytest.mark.parametrize(
    "number",
    [  # a stopped search of tests/journeys shows SIGINT every time
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        signal.SIGKILL,
    ],
    ids=lambda number: number.name,
)
def test_nothing_is_left_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mark = f"{tmp_path}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"TEST_MARK": mark}
    driver = subprocess.Popen(
        [sys.executable, "-c", SERVER.replace("PORT", str(port))],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert driver.stdout is not None
    assert driver.stdout.readline() == "up\n"
    assert any("haproxy" in name for name in marked(mark)), marked(mark)
    driver.send_signal(number)
    driver.wait(timeout=30)
    driver.stdout.close()
    deadline = time.monotonic() + 15
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marked(mark) == []


def test_the_sweep_ends_marked_processes_and_no_others(tmp_path: Path) -> None:
    stubborn = [sys.executable, "-c", "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(60)"]
    ours = subprocess.Popen(stubborn, env=os.environ | {reaper.MARK: "one"}, stdout=subprocess.PIPE)
    theirs = subprocess.Popen(stubborn, env=os.environ | {reaper.MARK: "two"}, stdout=subprocess.PIPE)
    for process in (ours, theirs):
        assert process.stdout is not None
        process.stdout.read(1)  # the handler is in place
    folder = tmp_path / "session"
    folder.mkdir()
    assert reaper.sweep("one", os.getpgrp(), folder, grace_s=0.3) == 1
    assert ours.wait(timeout=5) == -signal.SIGKILL
    assert theirs.poll() is None
    assert not folder.exists()
    for process in (ours, theirs):
        process.kill()
        process.communicate()


def test_the_shared_ray_works(ray_2_cpus: None) -> None:
    assert ray.cluster_resources()["CPU"] == 2


def test_a_session_inside_another_is_refused(ray_2_cpus: None) -> None:
    with pytest.raises(ClusterError, match="has a Ray already"), connect("local"):
        pass
    assert ray.is_initialized()


def test_the_address_comes_from_the_option_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert target_of(None) == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert target_of(None) == "10.0.0.1:6379"
    assert target_of("auto") == "auto"
