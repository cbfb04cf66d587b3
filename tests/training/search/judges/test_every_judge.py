"""What any judge must keep: one voice a level, the same after a resume, and numbers in its reasons."""

import math
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.search.judges.stories import Told, search, stories, verdicts
from training.search.judges import Clone, GoOn, Judge, Stop, judge_of

LAST = 9
KINDS: dict[str, Any] = {
    "asha": {"kind": "asha", "grace": 1},
    "asha of half": {"kind": "asha", "grace": 2, "reduction_factor": 1.5},
    "hyperband": {"kind": "hyperband"},
    "median": {"kind": "median", "grace": 1, "min_trials": 2},
    "pbt": {"kind": "pbt", "interval": 2},
    "racing": {"kind": "racing", "p_value": 0.2},
    "none": "none",
}
PARAMS = {"train.peak_lr": 0.01}


def judge_by(kind: str) -> Judge:
    more = {"folds": LAST} if kind == "racing" else {}
    return judge_of(search(KINDS[kind], **more), LAST, ["max"])


def met(judge: Judge, story: list[Told]) -> Judge:
    for told in story:
        judge.meet(told.trial, PARAMS)
    return judge


@pytest.mark.parametrize("kind", KINDS)
def test_rungs_rise_and_lie_below_the_last_level(kind: str) -> None:
    judge = judge_by(kind)
    assert list(judge.levels) == sorted(set(judge.levels))
    assert all(0 < level < LAST for level in judge.levels)
    for trial in ("t0000", "t0001", "t0002"):
        way = [0]
        while way[-1] < LAST:
            way.append(judge.next_level(trial, way[-1]))
        assert way[-1] == LAST
        assert set(way[1:-1]) <= set(judge.levels)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_resumed_search_judges_as_one_that_was_never_interrupted(kind: str, data: st.DataObject) -> None:
    story = data.draw(stories(LAST))
    unbroken, resumed = met(judge_by(kind), story), judge_by(kind)
    cut = data.draw(st.integers(0, len(story)))
    stopped: set[str] = set()
    settings_of = {told.trial: dict(PARAMS) for told in story}
    for told, verdict in verdicts(unbroken, story[:cut], stopped):
        resumed.recall(told.trial, told.level, told.values, told.parts)
        if isinstance(verdict, Clone):
            settings_of[told.trial] = verdict.params
    for trial, params in settings_of.items():
        resumed.meet(trial, params)
    rest = list(verdicts(unbroken, story[cut:], set(stopped)))
    assert list(verdicts(resumed, story[cut:], set(stopped))) == rest


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_what_is_heard_again_counts_once_and_gets_the_same_verdict(kind: str, data: st.DataObject) -> None:
    story = data.draw(stories(LAST))
    once, often = met(judge_by(kind), story), met(judge_by(kind), story)
    heard: list[tuple[Told, Any]] = []
    for told, verdict in verdicts(once, story):
        assert often.hear(told.trial, told.level, told.values, told.parts) == verdict
        heard.append((told, verdict))
        again, before = data.draw(st.sampled_from(heard))  # an actor went on from a checkpoint
        assert often.hear(again.trial, again.level, again.values, again.parts) == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_a_weak_trial_is_told_why_with_both_numbers(kind: str) -> None:
    judge = judge_by(kind)
    trials = [f"t{i:04d}" for i in range(6)]
    for trial in trials:
        judge.meet(trial, PARAMS)
        for level in [*judge.levels, LAST]:
            judge.hear(trial, level, [0.81], [0.81 + 0.001 * i for i in range(level)])
        if kind != "pbt":
            judge.leave(trial)
    judge.meet("t0006", PARAMS)
    level = judge.next_level("t0006", 0)
    verdict = judge.hear("t0006", level, [0.4321], [0.4321 + 0.001 * i for i in range(level)])
    assert isinstance(verdict, Clone if kind == "pbt" else Stop)
    assert re.search(r"0\.43", verdict.reason), verdict.reason
    assert re.search(r"0\.81", verdict.reason), verdict.reason
    assert str(level) in verdict.reason


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_no_number_is_the_worst(kind: str) -> None:
    judge = judge_by(kind)
    for i in range(6):
        judge.meet(f"t{i:04d}", PARAMS)
        for level in [*judge.levels, LAST]:
            judge.hear(f"t{i:04d}", level, [0.01 * i], [0.01 * i] * level)
    judge.meet("t0006", PARAMS)
    level = judge.next_level("t0006", 0)
    verdict = judge.hear("t0006", level, [math.nan], [math.nan] * level)
    assert isinstance(verdict, Clone if kind == "pbt" else Stop)
    assert "no score" in verdict.reason


@pytest.mark.parametrize("kind", KINDS)
def test_trials_without_any_number_do_not_disturb_the_others(kind: str) -> None:
    judge = judge_by(kind)
    for i in range(5):
        judge.meet(f"t{i:04d}", PARAMS)
        for level in judge.levels:
            judge.recall(f"t{i:04d}", level, [None], [None] * level)
    judge.meet("t0005", PARAMS)
    for level in [*judge.levels, LAST]:
        assert judge.hear("t0005", level, [0.5], [0.5] * level) == GoOn()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("none", "pbt")])
def test_a_failed_trial_no_longer_raises_the_bar(kind: str) -> None:
    judge = judge_by(kind)
    for i in range(6):
        score = 0.9 if i < 3 else 0.1
        for level in [*judge.levels, LAST]:
            judge.hear(f"t{i:04d}", level, [score], [score] * level)
    for i in range(3):
        judge.forget(f"t{i:04d}")
    level = judge.next_level("t0006", 0)
    assert judge.hear("t0006", level, [0.2], [0.2 + 0.001 * i for i in range(level)]) == GoOn()
