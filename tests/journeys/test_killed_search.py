"""A search whose driver, whose Ray and all of whose processes are killed, again and again, and that goes on."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.journeys.commands import MANTA, environment, manta, processes_of

TRIALS = 28
EPOCHS = 9
CONFIG: dict[str, Any] = {
    "name": "killed",
    "data": {"source": "sklearn:iris", "target": "target"},
    "train": {"epochs": EPOCHS, "global_batch_size": 16, "early_stopping": None, "checkpoint": {"max_interval_s": 0.5}},
    "search": {
        "trials": TRIALS,
        "startup_trials": 4,
        "fuse": False,
        "scheduler": {"kind": "asha", "grace": 1},
        "space": {"train.peak_lr": {"log": [0.0001, 0.1]}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paced = {"target": "tests.training.nets:Paced", "args": {"folder": str(tmp_path), "seconds": 0.02}}
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(CONFIG | {"model": paced}))
    return tmp_path


def trials(folder: Path) -> list[dict[str, Any]]:
    journal = folder / "runs" / "killed" / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line) for line in lines if line.startswith('{"event": "trial"') and line.endswith("}")]


def started(folder: Path, mark: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*MANTA, "tune", "killed.yaml"], cwd=folder, env=environment(mark), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def kill(what: str, driver: "subprocess.Popen[str]", mark: str) -> str:
    """SIGKILL; gives what was said on stderr."""
    commands = {"head": ("gcs_server", "raylet"), "everything": ("",)}
    if what == "driver":
        driver.kill()
    else:
        found = processes_of(mark)
        hit = [pid for pid, command in found.items() if any(f"/{part} " in command for part in commands[what])]
        for pid in hit if what == "head" else found:
            os.kill(pid, signal.SIGKILL)
        assert hit or what == "everything", found
    return driver.communicate(timeout=90)[1]


@pytest.mark.slow
def test_nothing_is_lost_or_run_twice_whatever_is_killed(folder: Path) -> None:
    rng, kills = random.Random(7), ["driver", "head", "everything", "driver"]
    for number, what in enumerate(kills):
        mark, before = f"{what}-{number}-{folder}", len(trials(folder))
        driver = started(folder, mark)
        deadline, wanted = time.monotonic() + 120, before + rng.randint(1, 2)
        while len(trials(folder)) < wanted:
            assert driver.poll() is None, driver.communicate()[1]
            assert time.monotonic() < deadline, "no trial ended"
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 1.0))
        if number == 0:
            driver.send_signal(signal.SIGSTOP)  # it must still be there when the other one gives up
            second = manta("tune", "killed.yaml", cwd=folder)
            assert second.returncode != 0
            assert "another process is working on the run in" in second.stderr
        said = kill(what, driver, mark)
        assert driver.returncode == (1 if what == "head" else -signal.SIGKILL), said
        if what == "head":
            assert "Ray's own processes were killed: gcs_server and raylet" in said
            assert "the same command goes on from what is saved" in said
        deadline = time.monotonic() + 30
        while (left := processes_of(mark)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not left
    assert len(trials(folder)) < TRIALS, "it must have been killed before its end"
    done = manta("tune", "killed.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    events = trials(folder)
    assert sorted(event["trial"] for event in events) == [f"t{i:04d}" for i in range(TRIALS)]
    assert {event["state"] for event in events} <= {"complete", "pruned"}
    assert any(event["attempts"] > 1 for event in events)
    for event in events:
        assert len(event["curve"]) == event["epochs"]
        assert (event["state"] == "complete") == (event["epochs"] == EPOCHS)
    again = manta("train", "--from", "killed/" + max(events, key=lambda event: event["attempts"])["trial"], cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "scores equal to the last bit" in again.stdout, "a trial that was taken up is the one that was never killed"
