"""Whose checkpoints stay: real folders, made-up trials."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.search.playing import config_of, played
from training.progress import TrialState
from training.search.limits import weights
from training.search.limits.weights import KeptWeights


def kept_of(tmp_path: Path, told: list[str] | None = None, **search: Any) -> KeptWeights:
    config = config_of(played(tmp_path, **search))
    return KeptWeights(config, str(tmp_path / "checkpoints"), "max", (told if told is not None else []).append)


def write(tmp_path: Path, trial: str, step: int = 8, num_bytes: int = 1000, age_s: float = 0.0, best: int = 0) -> None:
    """A checkpoint, as a slot would leave it."""
    for folder, size in ((f"{step:08d}", num_bytes), ("best/00000001-ab", best)):
        if size:
            path = tmp_path / "checkpoints" / trial / folder / "checkpoint.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))
            os.utime(path, (time.time() - age_s, time.time() - age_s))


def there(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if not path.name.startswith("."))


def ended(kept: KeptWeights, name: str, score: float | None, state: TrialState = "complete", **more: Any) -> bool:
    return kept.ended(name, state, score, 0.0, has_files=True, **more)


def test_the_best_stay_and_who_falls_out_goes(tmp_path: Path) -> None:
    kept = kept_of(tmp_path, keep_best=2)
    for name in ("t0000", "t0001", "t0002", "t0003", "t0004"):
        write(tmp_path, name)
    assert ended(kept, "t0000", 0.5)
    assert ended(kept, "t0001", 0.7)
    assert ended(kept, "t0002", 0.6)
    assert not ended(kept, "t0003", 0.9, "pruned"), "a stopped trial has seen fewer epochs"
    assert there(tmp_path) == ["t0001", "t0002", "t0004"]
    assert kept.best == ["t0001", "t0002"]


def test_what_a_slot_still_wrote_while_its_trial_was_removed_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_of(tmp_path)
    write(tmp_path, "t0000")
    assert not ended(kept, "t0000", None, "failed")
    write(tmp_path, "t0000")  # it was on its way
    kept.look()
    assert there(tmp_path) == ["t0000"]
    monkeypatch.setattr(weights, "SETTLE_S", 0.0)
    kept.look()
    assert there(tmp_path) == []


def test_a_later_driver_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    for name in ("t0000", "t0001", "t0002", "own"):
        write(tmp_path, name)
    kept = kept_of(tmp_path)
    kept.recall("t0000", "complete", 0.5, 0.0)
    kept.recall("t0001", "pruned", 0.9, 0.0)
    kept.sweep()
    assert there(tmp_path) == ["own", "t0000", "t0002"], "t0002 is open, and the experiment's own training is not ours"


def test_of_trials_that_are_several_trainings_none_is_kept(tmp_path: Path) -> None:
    """Its checkpoint is that of one fold, and the final training would take it for its own."""
    kept = kept_of(tmp_path, folds=3)
    write(tmp_path, "t0000")
    assert not ended(kept, "t0000", 0.9)
    assert there(tmp_path) == []


def test_the_front_stays_and_who_leaves_it_goes(tmp_path: Path) -> None:
    kept = kept_of(tmp_path, objectives=["score", "size_mb"])
    for name in ("t0000", "t0001", "t0002"):
        write(tmp_path, name)
    assert ended(kept, "t0000", 0.9, front=["t0000"])
    assert ended(kept, "t0001", 0.5, front=["t0000", "t0001"])
    assert ended(kept, "t0002", 0.6, front=["t0000", "t0002"])
    assert there(tmp_path) == ["t0000", "t0002"]


def test_older_checkpoints_of_running_trials_go_first_and_the_newest_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights lie beside the newest checkpoint, which refers to them, and are often older than it."""
    told: list[str] = []
    kept = kept_of(tmp_path, told, storage_budget="4kB")
    write(tmp_path, "t0000", 8, age_s=60)
    write(tmp_path, "t0000", 16, age_s=10, best=1000)
    os.utime(tmp_path / "checkpoints/t0000/best/00000001-ab/checkpoint.pt", (0, 0))
    write(tmp_path, "t0001", 8)
    write(tmp_path, "t0002", 8)
    kept.look()
    files = {path.relative_to(tmp_path / "checkpoints").parts[:2] for path in tmp_path.rglob("checkpoint.pt")}
    assert files == {("t0000", "00000016"), ("t0000", "best"), ("t0001", "00000008"), ("t0002", "00000008")}
    assert told == []
    write(tmp_path, "t0003", 8)
    monkeypatch.setattr(weights, "LOOK_EVERY_S", 0.0)
    kept.look()
    kept.look()
    assert len(told) == 1
    assert "search.storage_budget=4kB" in told[0]


def test_bytes_are_bounded_at_the_end_of_a_short_search_too(tmp_path: Path) -> None:
    """It ends before they were ever counted."""
    told: list[str] = []
    kept = kept_of(tmp_path, told, storage_budget="1kB", keep_best=2)
    kept.look()
    for i in range(2):
        write(tmp_path, f"t{i:04d}", num_bytes=2000)
        ended(kept, f"t{i:04d}", float(i))
    assert not told
    kept.close()
    assert len(told) == 1
    assert there(tmp_path) == ["t0000", "t0001"], "the best stay, whatever they take"
