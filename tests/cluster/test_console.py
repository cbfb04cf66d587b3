"""Progress without a terminal: plain lines on stderr, in a number that a job's log can bear."""

import pickle

import pytest

from cluster.console import Console, Level, duration
from training.package.errors import UserError
from training.progress import TrialDone


def test_epochs_are_thinned_but_the_ends_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.stage("train", "t0003")
    for epoch in range(1, 201):
        console.epoch(epoch, 200, {"train/loss": 1 / epoch, "validation/accuracy": 0.9})
    lines = capsys.readouterr().err.splitlines()
    assert 20 < len(lines) < 35
    assert "epoch 1/200" in lines[1]
    assert "left" not in lines[1]  # the first one took the start-up too
    assert "left" in lines[2]
    assert "epoch 200/200" in lines[-1]


def test_a_trial_says_its_score_the_best_and_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    done = TrialDone("t0003", "failed", {"train.peak_lr": 0.00312, "model.hidden": [8, 8]}, None, 2, 1.5, "CUDA [oom]")
    Console().trial(done, 3, 12, 0.91234)
    said = capsys.readouterr().err
    for part in ("t0003 failed", "best 0.9123", "3/12", "peak_lr=0.00312", "hidden=[8,8]", "CUDA [oom]"):
        assert part in said


def test_quiet_keeps_errors_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(Level.QUIET)
    console.note("nothing to see")
    console.epoch(1, 2, {})
    console.error(UserError("value [red] is wrong", "write [blue]"))
    console.data({"a": 1})
    streams = capsys.readouterr()
    assert streams.err == "error: value [red] is wrong\nhint: write [blue]\n"
    assert streams.out == '{\n  "a": 1\n}\n'


def test_ray_can_pickle_a_console() -> None:
    assert pickle.loads(pickle.dumps(Console(Level.VERBOSE))).level == Level.VERBOSE


@pytest.mark.parametrize(("seconds", "words"), [(4.4, "4 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
