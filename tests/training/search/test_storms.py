"""Whole searches without Ray in which processes die, machines go and drivers are killed, at seeded moments.

The driver, the slots' bench and the files are the real ones; only a trial's epochs are arithmetic.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.trial import TrialState

from tests.training.search.playing import (
    EPOCHS,
    Driver,
    PlayedRun,
    Trained,
    better_with_rate,
    config_of,
    driver,
    introduction,
    played,
)
from training.config import Experiment
from training.hosts.notices import Notices
from training.search import conductor
from training.search.slot.surroundings import Surroundings
from training.search.slot.trial_session import Watched
from training.search.slot.workbench import Workbench
from training.search.study import DONE, STATES, name_of


@dataclass
class Around:
    """What a bench asks of its slot."""

    notices: Notices = field(default_factory=Notices)
    watched: Watched = field(default_factory=Watched)
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Storm:
    """What happened, and how often."""

    seed: int
    saved: dict[str, Trained] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def strikes(self, what: str, chance: float) -> bool:
        """Whether it happens now."""
        happens = self.rng.random() < chance
        self.counts[what] += happens
        return happens


def breaks(params: Mapping[str, Any], level: int) -> str:
    """One in some trials fails on its way."""
    quality = better_with_rate(params, level) + 0.5 / (level + 1)
    return "it diverged" if 0.30 < quality < 0.36 and level == 3 else ""


def one_driver(wanted: Experiment, storm: Storm) -> bool:
    """One execution; whether it came to the end."""
    with driver(wanted) as one:
        slots: dict[str, tuple[Workbench, Around]] = {}
        while not (one.conductor.is_over and not slots):
            if storm.strikes("driver killed", 0.02):
                for path in (one.run.trials / "study.log", one.run.journal.path):
                    if path.exists() and storm.strikes("half a line", 0.5):
                        with path.open("ab") as file:
                            file.write(b'{"op_code": 5, "tri')
                return False
            key = f"s{storm.rng.random()}"
            if storm.rng.random() < 0.3 and one.conductor.new_slot(key) is not None:
                slots[key] = bench(one, wanted, storm, key)
            if slots:
                turn(one, wanted, storm, slots, storm.rng.choice(sorted(slots)))
        one.conductor.close()
    return True


def bench(one: Driver, wanted: Experiment, storm: Storm, key: str) -> tuple[Workbench, Around]:
    """A process of a slot, which has introduced itself."""
    around = Around()
    last_level = max(config_of(wanted).replicates, 1) if config_of(wanted).replicates > 1 else EPOCHS

    def run(assignment: Any, _: Any) -> PlayedRun:
        return PlayedRun(assignment, better_with_rate, storm.saved, last_level, last_level != EPOCHS, breaks)

    made = Workbench(cast("Surroundings", around), None, run)
    made.obey(one.conductor.hear(key, introduction(made.incarnation)))
    return made, around


def turn(one: Driver, wanted: Experiment, storm: Storm, slots: dict[str, tuple[Workbench, Around]], key: str) -> None:
    """A slot works, and something may happen to it before it can say so."""
    made, around = slots[key]
    if storm.strikes("drained", 0.03):
        around.notices.leave("its node is to go")
    said = made.work()
    if storm.strikes("process killed", 0.05):
        one.conductor.process_ended(key, "killed")
        slots[key] = bench(one, wanted, storm, key)
        return
    if said.left or made.is_over:
        one.conductor.slot_ended(key, said)
        del slots[key]
        return
    made.obey(one.conductor.hear(key, said))


@pytest.mark.parametrize(
    "search",
    [
        {"scheduler": {"kind": "asha", "grace": 1}},
        {"scheduler": {"kind": "hyperband", "grace": 1}},
        {"scheduler": {"kind": "pbt", "interval": 2}, "concurrency": 8},
        {"folds": 5, "scheduler": {"kind": "asha", "grace": 2}},
    ],
    ids=["asha", "hyperband", "pbt", "folds"],
)
def test_no_trial_is_lost_or_run_twice_whatever_happens(
    tmp_path: Path, search: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conductor, "WAIT_S", 0.0)
    seen: Counter[str] = Counter()
    for seed in range(3):
        wanted = played(tmp_path / str(seed), 25, max_failures_per_trial=100, seed=seed, **search)
        storm = Storm(seed)
        drivers = 1
        while not one_driver(wanted, storm):
            drivers += 1
            assert drivers < 100
        seen += storm.counts
        with driver(wanted) as last:
            check(last, wanted)
    assert min(seen[what] for what in ("driver killed", "process killed", "drained")) > 0, seen


def check(last: Driver, wanted: Experiment) -> None:
    """Study and journal hold the same 25 trials, each once, as they would have been without trouble."""
    names = [event["trial"] for event in last.run.journal.events("trial")]
    assert sorted(names) == [f"t{i:04d}" for i in range(25)]
    is_population = config_of(wanted).scheduler.kind == "pbt"
    last_level = EPOCHS if config_of(wanted).replicates == 1 else config_of(wanted).replicates
    for trial in last.study.trials:
        event = last.events[name_of(trial.number)]
        assert trial.state in DONE
        assert event["state"] == STATES[trial.state]
        assert all(level <= event["epochs"] for level in trial.intermediate_values)
        if event["state"] == "failed":
            assert "it diverged" in event["cause"]
            continue
        assert (event["state"] == "complete") == (event["epochs"] == last_level)
        assert sorted(trial.intermediate_values) == list(range(1, event["epochs"] + 1))
        assert len({level for level, _ in event["rungs"]}) == len(event["rungs"])
        if not is_population:
            assert event["curve"] == [better_with_rate(event["params"], level + 1) for level in range(event["epochs"])]
    complete = [trial for trial in last.study.trials if trial.state == TrialState.COMPLETE]
    assert complete
