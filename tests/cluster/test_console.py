"""Progress on stderr: plain lines in a number that a job's log can bear, and a live line in a terminal."""

import fcntl
import os
import pickle
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from cluster.console import Console, Level, duration, short_names
from cluster.training_text import Pace, Part, TrainingText, amount, fitted, rough
from training.package.errors import UserError
from training.progress import Live, TrialDone

PLAYED = """
import time
from cluster.console import Console
from training.progress import Live
console = Console()
console.stage("train", "own")
for step in range(1, 13):
    epoch = (step + 3) // 4
    score = ("validation/average_precision", 0.9 + epoch / 100) if epoch > 1 else None
    console.live(Live(epoch, 4, step * 100, 1600, 12345.6, 0.02, 4, 0.25, score, memory_mb=900.0,
                      gpu_memory_mb=34123.0, mfu=0.41))
    if step == 6:
        console.event({"event": "resumed", "step": 600, "workers": 4, "steps_lost": 0})
    if step % 4 == 0:
        console.epoch(epoch, 4, {"train/loss": 1 / epoch, "validation/average_precision": 0.9 + (epoch % 3) / 100})
    time.sleep(0.04)
console.stage("compress")
"""


def test_epochs_are_thinned_but_the_ends_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.stage("train", "t0003")
    for epoch in range(1, 201):
        console.epoch(epoch, 200, {"train/loss": 1 / epoch, "validation/accuracy": 0.9})
    lines = capsys.readouterr().err.splitlines()
    assert 20 < len(lines) <= 27
    assert "epoch 1/200" in lines[1]
    assert "left" not in lines[1]  # the first one took the start-up too
    assert "left" in lines[2]
    assert "epoch 200/200  loss 0.0050  accuracy 0.9000  (best)" in lines[-1]


def live(step: int, **known: object) -> Live:
    facts = {"samples_per_s": 12_345.6, "wait_fraction": 0.021, "num_workers": 1, "loss": 0.25, "memory_mb": 1234.0}
    return Live(epoch=1, num_epochs=3, step=step, num_steps=3000, **(facts | known))  # type: ignore[arg-type]


def test_a_long_epoch_says_where_it_stands_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    console = Console()
    console.stage("train", "own")
    for step in range(1, 101):  # a second each
        console.live(live(step))
        now[0] += 1
    lines = capsys.readouterr().err.splitlines()[1:]
    assert len(lines) == 3
    assert lines[0].split("  ")[-1] == "at most 49 min left"
    assert lines[0].strip().startswith("epoch 1/3  step 31/3,000  loss 0.2500  12.3k samples/s  wait 2%")
    for hour in range(5 * 3600):
        console.live(live(101 + hour // 10))
        now[0] += 1
    assert 30 < len(capsys.readouterr().err.splitlines()) < 130  # ever more seldom, not 600
    console.epoch(1, 3, {"train/loss": 0.2, "validation/accuracy": 0.9})
    assert "epoch 1/3  loss 0.2000  accuracy 0.9000  (best)  12.3k samples/s" in capsys.readouterr().err


def test_short_epochs_add_no_lines_between(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    console = Console()
    console.stage("train", "own")
    for epoch in range(1, 301):
        for step in range(10):
            console.live(live(10 * epoch + step))
            now[0] += 1
        console.epoch(epoch, 300, {"train/loss": 0.2})
    assert len(capsys.readouterr().err.splitlines()) <= 27


def test_the_last_epoch_is_said_also_where_training_stopped_early(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.stage("train", "own")
    for epoch in range(1, 24):
        console.epoch(epoch, 1000, {"train/loss": 1 / epoch})
    console.stage("compress")
    assert [line.split()[0:2] for line in capsys.readouterr().err.splitlines()] == [
        ["train", "own"], ["epoch", "1/1000"], ["epoch", "23/1000"], ["compress"],
    ]  # fmt: skip


@pytest.mark.parametrize("width", [100, 45])
def test_a_terminal_shows_two_lines_that_fit_and_leaves_the_last_epoch(width: int, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2])}
    env.pop("COLUMNS", None)
    shown = ""
    with subprocess.Popen([sys.executable, "-c", PLAYED], stderr=theirs, env=env) as process:
        os.close(theirs)
        while chunk := _read(ours):
            shown += chunk
        assert process.wait(10) == 0
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    kept = "epoch 3/4  loss 0.3333  average_precision 0.9000  (best 0.9300)"
    assert lines[0] == "train     own"
    assert any("step 600: training goes on with 4 workers, no step lost" in line for line in lines)
    assert kept in lines[-2]
    assert lines[-1] == "compress"
    drawn = [line for line in lines[1:-2] if "training goes on" not in line]
    assert len(drawn) >= 4
    assert max(map(len, drawn)) < width
    assert any("epoch 2/4" in line for line in drawn)
    assert any("loss 0.2500" in line for line in drawn)
    told = " ".join(drawn)
    assert ("MFU 41%" in told, "12.3k samples/s" in told) == (width == 100,) * 2
    assert "at most" in told
    assert "\x1b[?25h" in shown  # the cursor is back


def _read(descriptor: int) -> str:
    try:
        return os.read(descriptor, 65536).decode()
    except OSError:  # how Linux says that the other end is closed
        return ""


def test_the_least_important_goes_first() -> None:
    parts = [Part("epoch 1/3", 0), Part("memory", 3), Part("", 0), Part("loss 0.1", 1)]
    assert fitted(parts, 80) == "epoch 1/3  memory  loss 0.1"
    assert fitted(parts, 26) == "epoch 1/3  loss 0.1"
    assert fitted(parts, 18) == "epoch 1/3"
    assert fitted(parts, 5) == "epoch"


def test_time_left_is_of_the_pace_lately_and_begins_anew_where_training_went_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace()
    assert pace.seconds_for(10) is None
    for step in range(200):  # slow at first, then 10 steps a second, in epochs of 10 steps
        now[0] += 10 if step < 10 else 1
        pace.add(step // 10, 10 * step)
    assert pace.seconds_for(100) == pytest.approx(10, rel=0.02)
    pace.add(3, 30)
    assert pace.seconds_for(100) is None


def test_the_best_score_is_marked_whichever_way_is_better() -> None:
    text = TrainingText()
    said = []
    for epoch, score in enumerate((0.5, 0.3, 0.4), 1):
        text.hear_epoch(epoch, 3, {"train/loss": 1.0, "validation/rmse": score})
        said.append(fitted(text.numbers(), 90).split("  ")[-2:])
    assert said == [["rmse 0.5000", "(best)"], ["rmse 0.3000", "(best)"], ["rmse 0.4000", "(best 0.3000)"]]
    text.hear(live(5, best=0.1))  # of before it was resumed
    assert "(best 0.1000)" in fitted(text.numbers(), 90)
    text.hear(live(5, phase="wait for machines"))
    assert "samples/s" not in fitted(text.numbers(), 90)
    assert "left" not in fitted(text.where(), 90)


def test_numbers_are_short() -> None:
    assert [amount(value) for value in (0, 950, 999.7, 12_345, 999_600, 4_560_000, 2e9)] == [
        "0", "950", "1.00k", "12.3k", "1.00M", "4.56M", "2.00G",
    ]  # fmt: skip
    assert [rough(value) for value in (0.2, 59, 61, 3599, 7800)] == ["1 s", "59 s", "1 min", "60 min", "2 h 10 min"]


def test_a_trial_says_its_score_the_best_and_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    done = TrialDone("t0003", "failed", {"train.peak_lr": 0.00312, "model.hidden": [8, 8]}, None, 2, 1.5, "CUDA [oom]")
    Console().trial(done, 3, 12, 0.91234)
    said = capsys.readouterr().err
    for part in ("t0003 failed", "best 0.9123", "3/12", "peak_lr=0.00312", "hidden=[8,8]", "CUDA [oom]"):
        assert part in said


def test_the_first_trial_leaves_no_gaps_and_counts_one_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    params = {"train.early_stopping": None, "train.deterministic": True, "train.optimizer.kind": "sgd"}
    console = Console()
    console.trial(TrialDone("t0000", "pruned", params, 0.9, 1, 1.5), 1, 12, None)
    console.trial(TrialDone("t0001", "failed", {}, None, 1, 1.5), 2, 12, None)
    first, second = capsys.readouterr().err.splitlines()
    settings = "early_stopping=null deterministic=true kind=sgd"
    assert first.strip() == f"trial t0000 pruned    0.9000  1/12  [1 epoch; {settings}]"
    assert "2/12  about 1 s left  [after 1 epoch; ]" in second


def test_how_a_training_ended_is_said_before_what_was_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    """One that stopped early, and no other stage comes."""
    console = Console()
    for epoch in range(1, 4):
        console.epoch(epoch, 1000, {"train/loss": 1 / epoch})
    console.data("checkpoint")
    said = capfd.readouterr()
    assert "epoch 3/1000" in said.err
    assert said.out == "checkpoint\n"


def test_settings_whose_names_end_alike_are_told_apart() -> None:
    keys = ["model.kind", "train.optimizer.kind", "train.peak_lr", "kind"]
    assert short_names(keys) == {
        "model.kind": "model.kind",
        "train.optimizer.kind": "optimizer.kind",
        "train.peak_lr": "peak_lr",
        "kind": "kind",
    }  # fmt: skip


def test_a_large_search_leaves_some_hundred_lines_and_every_failure(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for i in range(1, 5001):
        state = "failed" if i in (7, 4444) else "complete"
        done = TrialDone(
            f"t{i:04d}", state, {"train.peak_lr": 0.1}, 0.5, 3, 0.1, "it broke" if state == "failed" else None
        )
        console.trial(done, i, 5000, 0.6)
    lines = capsys.readouterr().err.splitlines()
    assert 100 <= len(lines) <= 110
    assert sum("it broke" in line for line in lines) == 2
    assert "5000/5000" in lines[-1]


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
