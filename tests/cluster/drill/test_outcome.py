"""What a blow cost is reckoned from what was seen of the run."""

from dataclasses import replace

import pytest

from cluster.drill.outcome import Blow, Reading, Seen, Start, outcome_of, outcomes_of
from cluster.drill.plan import Kind

KILL = Blow(1, Kind.KILL_WORKER, 100.0, "ab12cd34", 4711)
# 10 steps a second until 100 s; workers again at 108 s with 950 steps behind them, seen to step at 109 s.
BEFORE = tuple(Reading(float(second), second * 10) for second in range(101))
AFTER = tuple(Reading(float(second), 950 + (second - 108) * 10) for second in range(109, 130))
SEEN = Seen(BEFORE + AFTER, (Start(0.0, 0, 1), Start(108.0, 950, 1)))


def test_a_kill_costs_the_steps_since_the_checkpoint_and_the_time_until_the_first_new_one() -> None:
    outcome = outcome_of(KILL, SEEN, None, allowed_s=6.0)
    assert (outcome.at_step, outcome.from_step, outcome.steps_lost) == (1000, 950, 50)
    assert outcome.seconds_lost == pytest.approx(5.0)
    assert outcome.seconds_to_resume == pytest.approx(9.0)
    assert outcome.ok
    assert outcome.as_json()["steps_lost"] == 50


def test_more_lost_than_an_interval_is_not_ok() -> None:
    outcome = outcome_of(KILL, SEEN, None, allowed_s=4.0)
    assert not outcome.ok
    assert outcome.problem == "5.0 s of steps lost, 4.0 s allowed"


def test_a_notice_may_not_cost_a_single_step() -> None:
    notice = replace(KILL, kind=Kind.NOTICE)
    assert outcome_of(notice, SEEN, None, 60.0).problem == "50 steps lost in spite of the notice"
    kept = Seen(
        (*BEFORE, Reading(101.5, 1015), Reading(109.0, 1020)), (Start(0.0, 0, 1), Start(108.0, 1015, 1))
    )  # it went on for a while after the notice
    outcome = outcome_of(notice, kept, None, 60.0)
    assert (outcome.at_step, outcome.from_step, outcome.steps_lost, outcome.ok) == (1015, 1015, 0, True)


def test_time_without_machines_is_counted_apart() -> None:
    seen = replace(SEEN, absences=((50.0, 52.0), (101.0, 105.0)))
    outcome = outcome_of(KILL, seen, None, 6.0)
    assert outcome.seconds_to_resume == pytest.approx(5.0)
    assert outcome.seconds_absent == pytest.approx(4.0)


def test_the_pause_of_an_earlier_blow_is_no_time_of_steps() -> None:
    """Killed at 100 s, back at 108 s at step 950; killed again at 112 s, before a new checkpoint."""
    again = Blow(2, Kind.KILL_WORKER, 112.0)
    readings = (*BEFORE, *(each for each in AFTER if each.time <= 112.0), Reading(125.0, 960))
    seen = Seen(readings, (*SEEN.starts, Start(124.0, 950, 1)))
    first, second = outcomes_of((KILL, again), seen, 6.0)
    assert first.seconds_lost == pytest.approx(5.0)
    assert (second.at_step, second.from_step) == (990, 950)
    assert second.seconds_lost == pytest.approx(4.0)


def test_a_blow_that_the_run_does_not_come_back_from_is_not_ok() -> None:
    outcome = outcome_of(KILL, Seen(BEFORE, (Start(0.0, 0, 1),)), None, 6.0)
    assert outcome.problem == "not resumed"
    assert outcome.from_step is None
    assert outcome.seconds_to_resume is None


def test_a_blow_that_another_one_follows_before_the_run_is_back_is_judged_with_it() -> None:
    outcome = outcome_of(KILL, Seen(BEFORE, (Start(0.0, 0, 1),)), 103.0, 6.0)
    assert outcome.ok


def test_a_blow_that_hit_nothing_that_the_run_still_needed_is_ok() -> None:
    ended = Seen((*BEFORE, Reading(101.0, 1010)), (Start(0.0, 0, 1),), ended_at=101.5)
    assert outcome_of(KILL, ended, None, 6.0).ok
