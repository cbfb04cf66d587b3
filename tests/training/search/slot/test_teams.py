"""Trials of several workers: two at a time, stopped by verdicts, taken up again, and ended without a trace."""

import time
from pathlib import Path

import pytest
import ray
import ray.util

from tests.training.search.made_up_slots import around_of
from tests.training.search.test_failures import run
from training.config import Experiment
from training.run_folder import RunFolder
from training.search.messages import Assignment
from training.search.slot.team import TeamRun

pytestmark = pytest.mark.slow


def experiment(storage: Path, **search: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "teams", "storage": str(storage), "data": {"source": "sklearn:iris", "target": "target"},
            "model": {"kind": "mlp", "hidden": [8]},
            "train": {
                "epochs": 6, "global_batch_size": 16, "early_stopping": None, "workers": 2, "cpus_per_worker": 0.5,
            },
            "search": {
                "trials": 3, "sampler": "random", "scheduler": {"kind": "asha", "grace": 2},
                "points": [{"train.peak_lr": 0.05}, {"train.peak_lr": 1e-5}, {"train.peak_lr": 2e-5}],
                "space": {"train.peak_lr": {"log": [1e-5, 0.1]}}, **search,
            },
        }
    )  # fmt: skip


def test_teams_train_side_by_side_and_stop_by_verdicts(ray_2_cpus: None, tmp_path: Path) -> None:
    """The first trial has the experiment's own settings, then come the points."""
    wanted = experiment(tmp_path)
    found, events, _ = run(wanted)
    assert sorted(events) == ["t0000", "t0001", "t0002"]
    assert (found.trial, found.num_complete, found.num_pruned) == ("t0001", 2, 1)
    assert [level for level, _ in events["t0001"]["rungs"]] == [2, 6], "workers that ran on are judged all the same"
    assert (events["t0002"]["state"], events["t0002"]["rungs"][-1][0]) == ("pruned", 2)
    assert all(event["startup_s"] > event["seconds"] > 0 for event in events.values()), "the start is no training"
    checkpoints = Path(RunFolder.of(wanted).checkpoints_of(""))
    assert [path.name for path in checkpoints.iterdir() if not path.name.startswith(".")] == ["t0001"]
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < deadline, "a worker or a controller holds something still"
        time.sleep(0.5)


def test_a_team_without_room_ends_when_nobody_wants_it(ray_2_cpus: None, tmp_path: Path) -> None:
    """Its controller waits for machines; one that lived on would begin with workers when there is room."""
    holder = ray.util.placement_group([{"CPU": 1.5}])
    ray.get(holder.ready())
    wanted = experiment(tmp_path)
    team = TeamRun(Assignment("t0000", {}, 6), around_of(wanted))
    try:
        deadline = time.monotonic() + 60
        while not any("waits for machines" in note for _, note in team._around.notes):
            assert team.can_advance
            assert time.monotonic() < deadline
            team.advance()
        began = time.monotonic()
        team.leave()
        assert time.monotonic() - began < 20
        assert [each.state for each in team.heard()] == ["left"]
    finally:
        ray.util.remove_placement_group(holder)
    time.sleep(3)
    assert ray.available_resources().get("CPU") == 2.0
