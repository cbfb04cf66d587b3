"""A run seen from outside, by its folder."""

import json
import time
from pathlib import Path

from cluster.drill.outcome import Reading, Start
from cluster.drill.watch import LIVE_FILE, Watch, all_readings, starts_of
from training.checkpoint.manifest import MANIFEST_FILE, FileEntry, Manifest, manifest_bytes, now


def test_readings_and_checkpoints_are_collected_while_the_run_replaces_them(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "run")
    watch.begin()
    try:
        for number in (1, 2, 3):
            _say(watch.folder, float(number), number * 10)
            _checkpoint(watch.folder, number * 10)
            _wait_for(watch, number)
            (watch.folder / "checkpoints" / "own" / f"{number * 10:08d}" / MANIFEST_FILE).unlink()
    finally:
        watch.end()
    assert watch.readings == [Reading(1.0, 10), Reading(2.0, 20), Reading(3.0, 30)]
    assert [(each.step, each.num_bytes) for each in watch.checkpoints.values()] == [(10, 10), (20, 20), (30, 30)]
    assert watch.step == 30


def test_a_driver_that_only_begins_says_no_step_and_a_half_written_checkpoint_is_none(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "run")
    _say(watch.folder, 1.0, 0, phase="start")
    _checkpoint(watch.folder, 10)
    manifest = watch.folder / "checkpoints" / "own" / "00000010" / MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes()[:-20])
    watch.end()
    assert watch.readings == []
    assert watch.checkpoints == {}
    assert watch.step == 0


def test_the_journal_knows_the_very_step_at_which_workers_ended() -> None:
    events = [{"event": "epoch", "time": 1.0}, {"event": "preempted", "time": 5.5, "step": 57}]
    live = [Reading(5.0, 50), Reading(9.0, 60)]
    assert all_readings(live, events) == (Reading(5.0, 50), Reading(5.5, 57), Reading(9.0, 60))


def test_workers_begin_where_the_journal_says_or_with_nothing_under_a_driver_that_says_nothing() -> None:
    events = [{"event": "resumed", "time": 20.0, "step": 40, "workers": 2}]
    readings = [Reading(3.0, 10), Reading(12.0, 5), Reading(21.0, 45)]
    # drivers at 0 s (fresh), at 10 s (no checkpoint was there yet), at 18 s (went on at step 40)
    starts = starts_of(events, readings, (0.0, 10.0, 18.0))
    assert [start.step for start in starts] == [0, 0, 40]
    assert 10.0 < starts[1].time < 12.0
    assert starts[2] == Start(20.0, 40, 2)


def _say(folder: Path, when: float, step: int, phase: str = "train") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LIVE_FILE).write_text(json.dumps({"time": when, "step": step, "phase": phase, "workers": 1}))


def _checkpoint(folder: Path, step: int) -> None:
    path = folder / "checkpoints" / "own" / f"{step:08d}"
    path.mkdir(parents=True)
    files = (FileEntry(path="checkpoint.pt", num_bytes=step, sha256="0" * 64),)
    manifest = Manifest(
        format=1, kind="whole", sequence=1, epoch=0, samples=0, step=step, written_at=now(), files=files
    )  # fmt: skip
    (path / MANIFEST_FILE).write_bytes(manifest_bytes(manifest))


def _wait_for(watch: Watch, number: int) -> None:
    deadline = time.monotonic() + 5
    while (len(watch.readings), len(watch.checkpoints)) != (number, number):
        assert time.monotonic() < deadline, (watch.readings, watch.checkpoints)
        time.sleep(0.02)
