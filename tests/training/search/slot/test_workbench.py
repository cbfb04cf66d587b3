"""What a slot does between two words with its driver, with made-up trainings. No Ray."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.training.search.playing import PlayedRun, Trained, better_with_rate
from training.hosts.notices import Notices
from training.search.messages import Assignment, Cloning, Orders
from training.search.slot.surroundings import Surroundings
from training.search.slot.trial_session import Watched
from training.search.slot.workbench import Workbench

PARAMS = {"train.peak_lr": 0.01}


@dataclass
class Slot:
    """A bench, and the runs that it made."""

    notices: Notices = field(default_factory=Notices)
    watched: Watched = field(default_factory=Watched)
    notes: list[tuple[str, str]] = field(default_factory=list)
    runs: list[PlayedRun] = field(default_factory=list)
    saved: dict[str, Trained] = field(default_factory=dict)

    def bench(self) -> Workbench:
        def run(assignment: Assignment, _: Any) -> PlayedRun:
            self.runs.append(PlayedRun(assignment, better_with_rate, self.saved))
            return self.runs[-1]

        return Workbench(cast("Surroundings", self), None, run)


def start(*trials: str, until: int = 9) -> Orders:
    return Orders(start=tuple(Assignment(trial, PARAMS, until) for trial in trials))


def test_orders_have_their_effect_where_their_errors_are_heard(tmp_path: Path) -> None:
    """`obey` is a call whose answer nobody waits for: what it raised would be lost, and its trials with it."""
    bench = Slot().bench()
    bench.obey(Orders(stop=("t0099",)))
    with pytest.raises(StopIteration):
        bench.work()


def test_a_verdict_is_waited_for_and_the_end_is_told_once() -> None:
    slot = Slot()
    bench = slot.bench()
    bench.obey(start("t0000", until=3))
    told = bench.work()
    assert [(each.trial, each.state, each.level) for each in told.heard] == [("t0000", "judged", 3)]
    assert len(told.heard[0].curve) == 3
    bench.obey(Orders(go_on={"t0000": 9}))
    told = bench.work()
    assert [(each.state, each.level, len(each.curve)) for each in told.heard] == [("finished", 9, 6)]
    bench.obey(Orders(keep=("t0000",), is_over=True))
    told = bench.work()
    assert (told.heard, told.wants, bench.is_over) == ((), 0, True)
    assert slot.runs[0].ended == [("t0000", True)]


def test_a_trial_that_failed_by_an_order_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no step any more, in which it would be heard."""
    slot = Slot()
    bench = slot.bench()
    bench.obey(start("t0000", until=3))
    bench.work()

    def broken(self: PlayedRun, trial: str, cloning: Cloning) -> None:
        self.cause = "RuntimeError: other shapes"

    monkeypatch.setattr(PlayedRun, "clone", broken)
    bench.obey(Orders(clone={"t0000": Cloning("t0001", {}, 6)}))
    told = bench.work()
    assert [(each.state, each.cause) for each in told.heard] == [("failed", "RuntimeError: other shapes")]


def test_who_leaves_tells_of_all_its_trials_also_of_those_it_had_not_begun() -> None:
    slot = Slot()
    bench = slot.bench()
    bench.obey(start("t0000", "t0001"))
    slot.notices.leave("its node is to go")
    told = bench.work()
    assert (told.left, told.wants) == ("its node is to go", 0)
    assert {each.trial: each.state for each in told.heard} == {"t0000": "left", "t0001": "left"}
    assert bench.is_over


def test_the_time_is_up_for_every_trial_at_the_deadline() -> None:
    slot = Slot()
    bench = slot.bench()
    orders = start("t0000")
    bench.obey(Orders(start=orders.start, deadline=time.time() - 1))
    told = bench.work()
    assert told.left == "the time is up"
    assert [each.state for each in told.heard] == ["left"]


def test_short_trials_are_given_ahead_and_a_slot_that_is_over_wants_none() -> None:
    slot = Slot()
    bench = slot.bench()
    bench.obey(start("t0000", "t0001", "t0002"))
    told = bench.work()
    assert [each.state for each in told.heard] == ["finished", "finished", "running"], "so that more can be given"
    assert told.wants > 1
    bench.obey(Orders(stop=("t0000", "t0001")))
    assert [each.state for each in bench.work().heard] == ["finished"]
    bench.obey(Orders(stop=("t0002",), is_over=True))
    assert bench.work().wants == 0


def test_only_a_trial_that_is_trained_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Slot()
    seen: list[tuple[str, ...]] = []
    advance = PlayedRun.advance

    def watched(self: PlayedRun) -> None:
        seen.append(slot.watched.trials)
        advance(self)

    monkeypatch.setattr(PlayedRun, "advance", watched)
    bench = slot.bench()
    bench.obey(start("t0000", until=2))
    beats = slot.watched.beats
    bench.work()
    assert seen == [("t0000",)] * 2
    assert slot.watched.trials == ()
    assert slot.watched.beats == beats + 2
