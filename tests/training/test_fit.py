"""Trainings on their hosts: this process, and workers of a real Ray. Kills, resume, errors, impossible requests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.hosts.stumbling import StumblingTorch
from training.config import Experiment
from training.data.prepare import prepare
from training.errors import CapacityError, StorageError, TrainingFailed
from training.fit import FitResult, best_of_checkpoint, fit
from training.hosts import ray_train
from training.progress import Live, Silent
from training.run_folder import RunFolder


def experiment(storage: Path, name: str, model: dict[str, Any] | None = None, **train: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": name,
            "storage": str(storage),
            "data": {"source": "sklearn:iris", "target": "target"},
            "model": model or {"kind": "mlp", "hidden": [8]},
            "train": {"epochs": 4, "global_batch_size": 32, "early_stopping": None} | train,
        }
    )


class Collected(Silent):
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events: list[Any] = []
        self.lives: list[Live] = []

    def note(self, text: str) -> None:
        """Remember."""
        self.notes.append(text)

    def event(self, event: Any) -> None:
        """Remember."""
        self.events.append(event)

    def live(self, live: Live) -> None:
        """Remember."""
        self.lives.append(live)


class Impatient(Silent):
    """Ends a training that waits for machines."""

    def note(self, text: str) -> None:
        """All there is, is free."""
        assert "waits for machines" not in text


def run(wanted: Experiment, progress: Silent | None = None) -> FitResult:
    folder = RunFolder.of(wanted)
    folder.open(wanted)
    return fit(
        wanted, prepare(wanted.data), folder, name="own", metric="accuracy", progress=progress or Silent(), code_path=""
    )


def dying(marker: Path, rank: int = 0) -> dict[str, Any]:
    # 105 training rows in batches of 32 are 4 steps an epoch; step 10 is in the third.
    return {"target": "tests.training.nets:DiesOnce", "args": {"marker": str(marker), "at_step": 10, "rank": rank}}


def paced(folder: Path, seconds: float) -> dict[str, Any]:
    return {"target": "tests.training.nets:Paced", "args": {"folder": str(folder), "seconds": seconds}}


def epochs(wanted: Experiment) -> list[int]:
    return [event["epoch"] for event in RunFolder.of(wanted).journal.events("epoch")]


def same_weights(one: FitResult, other: FitResult) -> bool:
    return all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.fixture(scope="module")
def unbroken(ray_2_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """Two workers, nobody dies: the marker is there already."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "died").touch()
    return run(experiment(folder, "unbroken", dying(folder / "died"), workers=2))


@pytest.mark.slow
def test_killed_worker_ends_with_the_weights_of_an_unbroken_run(unbroken: FitResult, tmp_path: Path) -> None:
    """Rank 1 of 2 is killed in epoch 3 of 4. Same seed and order, so the weights must be equal, not close."""
    marker, seen = tmp_path / "died", Collected()
    broken = experiment(tmp_path, "broken", dying(marker, rank=1), workers=2)
    result = run(broken, seen)
    assert marker.exists()
    assert epochs(broken) == [1, 2, 3, 4]
    assert same_weights(result, unbroken)
    assert (result.num_workers, result.best_epoch, result.restarts) == (2, unbroken.best_epoch, 1)
    assert (result.num_steps, result.lost_steps) == (16, 9)  # its first checkpoint was still to come
    lost, resumed = RunFolder.of(broken).journal.events("worker_lost", "resumed")
    assert lost["what"].startswith("worker 1 on ")
    assert "was killed or crashed" in lost["what"]
    assert (resumed["workers"], resumed["steps_lost"]) == (2, 9)
    told = [event["event"] for event in seen.events if event["event"] in ("worker_lost", "resumed")]
    assert told == ["worker_lost", "resumed"]
    assert not any("waits for machines" in note for note in seen.notes)


@pytest.mark.slow
def test_a_worker_killed_while_its_group_connects_leaves_no_room_taken(
    unbroken: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both CPUs are the group's. What it held is let go of, or the next group would wait for it for ever."""
    marker = tmp_path / "marker"
    monkeypatch.setattr(ray_train, "TorchConfig", lambda **given: StumblingTorch(**given, marker=str(marker)))
    (tmp_path / "died").touch()
    stumbled = experiment(tmp_path, "stumbled", dying(tmp_path / "died"), workers=2)
    result = run(stumbled, Impatient())
    assert marker.exists()
    assert same_weights(result, unbroken)
    failed = RunFolder.of(stumbled).journal.last("worker_failed")
    assert failed is not None
    assert (failed["kind"], failed["workers"], failed["goes_on"]) == ("start", 2, True)


@pytest.mark.slow
def test_two_workers_learn_what_one_learns(unbroken: FitResult, tmp_path: Path) -> None:
    (tmp_path / "died").touch()
    one = run(experiment(tmp_path, "one", dying(tmp_path / "died")))
    assert all(torch.allclose(one.weights[name], unbroken.weights[name], atol=1e-5) for name in one.weights)
    assert one.metrics["validation/accuracy"] == pytest.approx(unbroken.metrics["validation/accuracy"])


def test_more_workers_than_can_ever_start(ray_2_cpus: None, tmp_path: Path) -> None:
    with pytest.raises(CapacityError, match=r"--set train\.workers=2"):
        run(experiment(tmp_path, "many", workers=7))
    with pytest.raises(CapacityError, match="1 GPU each can never start"):
        run(experiment(tmp_path, "gpu", device="gpu"))


def test_an_error_comes_out_as_one_line_and_the_trace_goes_to_the_log(tmp_path: Path) -> None:
    failing = experiment(tmp_path, "failing", {"target": "tests.training.nets:Raises"})
    threads = torch.get_num_threads()
    with pytest.raises(TrainingFailed, match=r"training failed in tests/training/nets\.py:\d+: RuntimeError: width 0"):
        run(failing)
    log = (RunFolder.of(failing).path / "errors.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "in _gradients" in log or "in _step" in log
    assert torch.get_num_threads() == threads


def test_a_driver_of_one_worker_shows_how_it_goes_and_its_result_is_read_again(tmp_path: Path) -> None:
    seen = Collected()
    result = run(experiment(tmp_path, "one", paced(tmp_path, 0.1)), seen)
    last = seen.lives[-1]
    assert (last.epoch, last.num_epochs, last.step, last.num_steps, last.num_workers) == (4, 4, 16, 16, 1)
    assert any(200 < live.samples_per_s < 420 for live in seen.lives)  # 32 rows in 0.1 s
    assert last.memory_mb is not None
    assert last.memory_mb > 100
    again = best_of_checkpoint(result.checkpoint, result.metrics, 1)
    assert same_weights(result, again)
    assert again.best_epoch == result.best_epoch


ONE = """
import sys
from pathlib import Path
from tests.training.test_fit import experiment, paced, run
folder = Path(sys.argv[1])
run(experiment(folder, "one", paced(folder, 0.05), epochs=6))
"""


def steps_saved(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("one/checkpoints/own/*/manifest.json"))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_a_driver_that_is_ended_goes_on_where_it_stood(number: signal.Signals, tmp_path: Path) -> None:
    """On notice not a step is lost. Killed, it goes on from its last checkpoint."""
    wanted = experiment(tmp_path, "one", paced(tmp_path, 0.05), epochs=6)
    process = subprocess.Popen([sys.executable, "-c", ONE, str(tmp_path)], env=os.environ)
    deadline = time.monotonic() + 60
    while len(epochs(wanted)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == (143 if number == signal.SIGTERM else -number)
    left_at = steps_saved(tmp_path)
    assert (len(left_at) == 1) == (number == signal.SIGTERM)  # it was too short for a checkpoint of its own accord
    result = run(wanted)
    straight = run(experiment(tmp_path, "straight", paced(tmp_path, 0.0), epochs=6))
    assert epochs(wanted) == [1, 2, 3, 4, 5, 6]
    assert same_weights(result, straight)
    if left_at:
        assert int(left_at[0]) >= 12
        resumed = RunFolder.of(wanted).journal.last("resumed")
        assert resumed is not None
        assert resumed["step"] == int(left_at[0])


TWO = """
import sys
from pathlib import Path
from cluster.session import connect
from tests.training.test_fit import experiment, paced, run
folder = Path(sys.argv[1])
with connect("local", num_cpus=2):
    run(experiment(folder, "one", paced(folder, 0.1), epochs=20, workers=2))
"""


@pytest.mark.slow
def test_a_driver_of_two_workers_that_is_told_to_end_has_them_save(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "one", paced(tmp_path, 0.1), epochs=20, workers=2)
    process = subprocess.Popen([sys.executable, "-c", TWO, str(tmp_path)], env=os.environ)
    deadline = time.monotonic() + 120
    while len(epochs(wanted)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert int(steps_saved(tmp_path)[-1]) >= 12
    left = RunFolder.of(wanted).journal.last("preempted")
    assert left is not None
    assert (left["what"], left["goes_on"], left["step"]) == ("told to end", False, int(steps_saved(tmp_path)[-1]))


def test_a_damaged_checkpoint_of_a_finished_training_is_said(tmp_path: Path) -> None:
    result = run(experiment(tmp_path, "done"))
    Path(result.checkpoint, "checkpoint.pt").write_bytes(b"")
    with pytest.raises(StorageError, match=r"00000016 is damaged: it has 0 bytes in checkpoint\.pt"):
        best_of_checkpoint(result.checkpoint, result.metrics, 1)


def test_a_training_that_stands_still_is_named(tmp_path: Path) -> None:
    """In this process it goes on when it can: nobody waits for it."""
    seen, folder = Collected(), tmp_path / "told"
    folder.mkdir()
    (folder / "pause-0").touch()
    wanted = experiment(tmp_path, "slow", paced(folder, 0.0), hang_timeout_s=1)
    run(wanted, seen)
    assert any("training made no step for" in event.get("what", "") for event in seen.events)
    log = (RunFolder.of(wanted).path / "errors.log").read_text()
    assert "nets.py" in log
