"""A run in an object store: a real S3 API on the loopback."""

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from training.config import Experiment
from training.errors import StorageError
from training.run_folder import RunFolder
from training.run_mirror import Mirror, joined


@pytest.fixture
def storage(s3_options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))
    return f"s3://data/{tmp_path.name}{s3_options}"


def run_of(storage: str) -> RunFolder:
    data = {"source": "sklearn:iris", "target": "target"}
    return RunFolder.of(Experiment.model_validate({"name": "iris", "storage": storage, "data": data}))


def test_another_machine_finds_what_one_left(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_of(storage)
    with first.alone():
        first.journal.append("started")
        (first.path / "package").mkdir()
        (first.path / "package" / "model.onnx").write_bytes(b"\x00" * 1000)
        (first.path / "checkpoints").mkdir()
        (first.path / "checkpoints" / "large").write_text("workers bring these themselves")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-2"))
    second = run_of(storage)
    assert second.path != first.path
    with second.alone():
        assert [event["event"] for event in second.journal.events()] == ["started"]
        assert (second.path / "package" / "model.onnx").read_bytes() == b"\x00" * 1000
        assert not (second.path / "checkpoints").exists()
        second.journal.append("finished")
        shutil.rmtree(second.path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))
    again = run_of(storage).refreshed()
    assert [event["event"] for event in again.journal.events()] == ["started", "finished"]
    assert not (again.path / "package").exists()


def test_what_a_driver_wrote_is_in_the_store_while_it_works(storage: str) -> None:
    run = run_of(storage)
    with run.alone():
        run.journal.append("started")
        deadline = time.monotonic() + 10
        reader = Mirror(run.uri, run.path.parent / "reader")
        while time.monotonic() < deadline and not (run.path.parent / "reader" / "journal.jsonl").exists():
            reader.pull()
            time.sleep(0.2)
        assert (run.path.parent / "reader" / "journal.jsonl").exists()


def test_what_a_dead_driver_did_not_bring_is_brought_by_the_next(storage: str) -> None:
    run = run_of(storage)
    with run.alone():
        run.journal.append("started")
    run.journal.append("epoch")  # as if the driver had died before it brought this
    with run.alone():
        assert [event["event"] for event in run.journal.events()] == ["started", "epoch"]
    shutil.rmtree(run.path)
    assert [event["event"] for event in run.refreshed().journal.events()] == ["started", "epoch"]


def test_a_second_machine_is_refused_while_the_first_works(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run_mirror.RENEW_EVERY_S", 0.3)
    monkeypatch.setattr("training.run_mirror.PUSH_EVERY_S", 0.1)
    first = run_of(storage)
    with first.alone():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-2"))
        with pytest.raises(StorageError, match="another process"), run_of(storage).alone():
            pass


def test_a_dead_holders_lease_is_taken(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run_mirror.LEASE_S", 1.0)
    run = run_of(storage)
    code = (
        "import os, sys; from training.run_mirror import Mirror; from pathlib import Path\n"
        f"with Mirror({run.uri!r}, Path({str(tmp_path / 'dead')!r})).held(): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with run.alone():
        run.journal.append("started")


def test_an_outage_is_told_once_and_waited_out(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run_mirror.PUSH_EVERY_S", 0.1)
    run, told = run_of(storage), []
    broken = threading.Event()
    push = Mirror.push

    def flaky(self: Mirror) -> int:
        if broken.is_set():
            raise OSError("no route to host")
        return push(self)

    monkeypatch.setattr(Mirror, "push", flaky)
    with run.alone(told=told.append):
        broken.set()
        run.journal.append("started")
        while not told:
            time.sleep(0.05)
        broken.clear()
        while len(told) < 2:
            time.sleep(0.05)
    assert "cannot be reached: no route to host" in told[0]
    assert "can be reached again" in told[1]
    assert len(told) == 2


def test_an_unreachable_store_is_said(storage: str) -> None:
    other = storage.replace(storage.split("/")[2], "no-such-bucket")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/.*/iris cannot be"), run_of(other).alone():
        pass


def test_options_stay_at_the_end() -> None:
    assert joined("s3://b/runs?region=x", "iris", "checkpoints") == "s3://b/runs/iris/checkpoints?region=x"
    assert json.dumps(joined("gs://b", "iris")) == '"gs://b/iris"'
