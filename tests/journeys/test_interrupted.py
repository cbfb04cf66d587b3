"""Ctrl-C, SIGTERM and kill -9 in the middle: the run goes on afterwards, and no process is left."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.journeys.commands import MANTA, environment, manta, processes_of
from tests.journeys.test_whole_way import write_flowers

CONFIG = """
name: long
data: {source: flowers.csv, target: species}
model: {kind: mlp, hidden: [16]}
train: {epochs: 10, global_batch_size: 8, early_stopping: null}
search: {trials: 400, scheduler: none, space: {train.peak_lr: {log: [0.001, 0.1]}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_flowers(tmp_path / "flowers.csv")
    (tmp_path / "long.yaml").write_text(CONFIG)
    return tmp_path


def num_trials(folder: Path) -> int:
    journal = folder / "runs" / "long" / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return sum('"event": "trial"' in line for line in lines)


def stop_in_mid_search(folder: Path, number: signal.Signals, mark: str) -> tuple[int, str]:
    started = subprocess.Popen(
        [*MANTA, "tune", "long.yaml"],
        cwd=folder,
        env=environment(mark),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while num_trials(folder) < 4:
        assert started.poll() is None, started.stderr.read() if started.stderr else ""
        assert time.monotonic() < deadline, "no trial ended"
        time.sleep(0.05)
    assert processes_of(mark), "the mark reaches Ray's processes, or the check below would prove nothing"
    started.send_signal(number)
    said = started.communicate(timeout=60)[1]
    return started.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_search_leaves_no_process_and_goes_on(folder: Path, number: signal.Signals, code: int) -> None:
    mark = f"{number.name}-{folder}"
    returncode, said = stop_in_mid_search(folder, number, mark)
    assert returncode == code, said
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while (left := processes_of(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    done = num_trials(folder)
    assert 4 <= done < 400
    again = manta("tune", "long.yaml", "--set", f"search.trials={done + 2}", "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert num_trials(folder) == done + 2
    assert json.loads(again.stdout)["score"] > 0.8
