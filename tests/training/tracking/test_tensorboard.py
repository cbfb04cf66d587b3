"""Files that TensorBoard reads: each number once, whatever the training went through."""

import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.training.tracking.conftest import SECRET, add_epoch
from training.config import Experiment
from training.progress import Live, Silent
from training.run_folder import RunFolder
from training.tracking import tracker as tracker_module
from training.tracking.tensorboard import TensorBoardFiles
from training.tracking.tracker import TrackedProgress, tracking


def records(folder: Path) -> Iterator[Any]:
    """Every event of a folder's files, the older file first."""
    for path in sorted(folder.glob("*.tfevents.*")):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            yield Event.FromString(raw[12 : 12 + length])
            raw = raw[12 + length + 4 :]


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """As TensorBoard shows them: a restart at a step voids what was written from there on."""
    shown: list[tuple[int, float]] = []
    for event in records(folder):
        if event.session_log.status == SessionLog.START:
            shown = [(step, value) for step, value in shown if step < event.step]
        shown += [(event.step, round(value.simple_value, 4)) for value in event.summary.value if value.tag == tag]
    return shown


def live(step: int, **known: Any) -> Live:
    return Live(1, 3, step, 30, samples_per_s=1000.0 + step, wait_fraction=0.25, num_workers=2, **known)


def test_scores_by_epoch_and_numbers_by_step(experiment: Experiment, run: RunFolder) -> None:
    files = TensorBoardFiles(experiment, run, "own")
    for step in (1, 5, 5):  # at 5 it waits for something: no step, no point
        files.live(live(step, loss=1 / step, lr=1e-3))
    files.live(live(6, phase="evaluate"))
    files.epoch(1, add_epoch(run, 1) | {"validation/rmse": float("nan")})
    files.event({"event": "preempted", "step": 5, "what": "node 10.0.0.7 is being drained"})
    files.close("finished")
    epochs, steps = (run.path / "tensorboard" / name for name in ("epochs", "steps"))
    assert scalars(epochs, "train/loss") == [(1, 1.0)]
    assert scalars(epochs, "validation/accuracy") == [(1, 0.9)]
    assert scalars(epochs, "validation/rmse") == []
    assert scalars(steps, "step/loss") == [(1, 1.0), (5, 0.2)]
    assert scalars(steps, "step/lr") == [(1, 0.001), (5, 0.001)]
    assert scalars(steps, "step/samples_per_s") == [(1, 1001.0), (5, 1005.0)]
    assert scalars(steps, "step/wait_fraction") == [(1, 0.25), (5, 0.25)]
    texts = [value.tensor.string_val[0].decode() for event in [*records(epochs), *records(steps)]
             for value in event.summary.value if value.tensor.string_val]  # fmt: skip
    assert "peak_lr: 0.003" in texts[0]
    assert SECRET not in texts[0]
    assert texts[1] == "step 5: training saved itself and left (node 10.0.0.7 is being drained)"


def test_resumed_rolled_back_and_begun_anew_it_has_each_number_once(experiment: Experiment, run: RunFolder) -> None:
    first = TensorBoardFiles(experiment, run, "own")
    for epoch in (1, 2, 3):
        first.epoch(epoch, add_epoch(run, epoch))
        first.live(live(10 * epoch, loss=float(epoch)))
    first.epoch(2, add_epoch(run, 2, 0.5))  # it went back
    first.live(live(15, loss=7.0))
    first.close("killed")
    add_epoch(run, 3, 0.6)  # known to the journal alone: the driver was killed
    second = TensorBoardFiles(experiment, run, "own")
    second.live(live(12, loss=8.0))
    second.epoch(4, add_epoch(run, 4, 0.7))
    second.close("finished")
    epochs, steps = (run.path / "tensorboard" / name for name in ("epochs", "steps"))
    assert scalars(epochs, "validation/accuracy") == [(1, 0.9), (2, 0.5), (3, 0.6), (4, 0.7)]
    assert scalars(steps, "step/loss") == [(10, 1.0), (12, 8.0)]
    assert len(list(epochs.iterdir())) == 1


def test_trouble_with_the_files_is_said_once_and_stops_nothing(experiment: Experiment, run: RunFolder) -> None:
    class Heard(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    (run.path / "tensorboard").write_text("in the way")
    with tracking(experiment, run, Heard(), "own") as progress:
        progress.epoch(1, 2, add_epoch(run, 1))
        progress.epoch(2, 2, add_epoch(run, 2))
    assert len(notes) == 1
    assert notes[0].startswith("TensorBoard is told nothing any more: NotADirectoryError")


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "finished"), (ValueError, "failed"), (KeyboardInterrupt, "killed")]
)
def test_every_end_is_told_with_its_outcome(
    error: type[BaseException] | None, outcome: str, experiment: Experiment, run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ends: list[str] = []

    def close(self: TensorBoardFiles, outcome: str) -> None:
        ends.append(outcome)
        original(self, outcome)

    original = TensorBoardFiles.close
    monkeypatch.setattr(TensorBoardFiles, "close", close)

    def train() -> None:
        with tracking(experiment, run, Silent(), "own") as progress:
            progress.event({"event": "resumed", "step": 3})
            if error is not None:
                raise error

    if error is None:
        train()
    else:
        with pytest.raises(error):
            train()
    assert ends == [outcome]


def test_nothing_is_opened_where_nothing_is_tracked(experiment: Experiment, run: RunFolder) -> None:
    untracked = experiment.model_copy(update={"track": type(experiment.track)(tensorboard=False)})
    progress = Silent()
    with tracking(untracked, run, progress, "own") as told:
        assert told is progress
    assert not (run.path / "tensorboard").exists()


def test_ray_can_pickle_it(experiment: Experiment, run: RunFolder) -> None:
    with tracking(experiment, run, Silent(), "own") as progress:
        assert isinstance(progress, TrackedProgress)
        assert isinstance(pickle.loads(pickle.dumps(progress)), Silent)


def test_a_training_does_not_wait_for_its_libraries(
    experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: Any) -> TensorBoardFiles:
        time.sleep(0.3)
        return TensorBoardFiles(*args)

    monkeypatch.setattr(tracker_module, "TensorBoardFiles", slow)
    with tracking(experiment, run, Silent(), "own") as progress:
        began = time.monotonic()
        progress.epoch(1, 2, add_epoch(run, 1))
        assert time.monotonic() - began < 0.2
    assert scalars(run.path / "tensorboard" / "epochs", "train/loss")[-1] == (1, 1.0)
    code = "import sys, training.tracking.tracker; print({'tensorboardX', 'requests', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
