"""Successive halving: Ray Tune's own verdicts, cheap at ten thousand trials, and brackets that a resume finds again."""

import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tests.training.search.judges.stories import Told, search, stories, verdicts
from training.metric_names import Mode
from training.search.judges import GoOn, Stop, judge_of
from training.search.judges.halving import Halving, Rung
from training.search.judges.never import NeverStops

LAST = 12


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    story=stories(LAST),
    factor=st.sampled_from([1.5, 2.0, 3.0, 4.0]),
    grace=st.integers(1, 4),
    mode=st.sampled_from(["max", "min"]),
)
def test_asha_stops_whom_tunes_own_scheduler_stops(story: list[Told], factor: float, grace: int, mode: Mode) -> None:
    judge = judge_of(search({"kind": "asha", "grace": grace, "reduction_factor": factor}), LAST, [mode])
    tune = AsyncHyperBandScheduler(
        "epoch", "score", mode, max_t=LAST, grace_period=grace, reduction_factor=factor, stop_last_trials=False
    )
    for trial in {told.trial for told in story}:
        tune.on_trial_add(None, SimpleNamespace(trial_id=trial))
    for told, verdict in verdicts(judge, story):
        if told.level == LAST:
            continue  # Tune stops some in their last epoch, which is no stopping
        result = {"epoch": told.level, "score": told.values[0]}
        asked = tune.on_trial_result(None, SimpleNamespace(trial_id=told.trial), result)
        assert isinstance(verdict, Stop) == (asked == TrialScheduler.STOP)


@settings(max_examples=100, deadline=None)
@given(story=stories(LAST), kind=st.sampled_from(["asha", "hyperband"]), mode=st.sampled_from(["max", "min"]))
def test_the_best_at_a_rung_goes_on(story: list[Told], kind: str, mode: Mode) -> None:
    judge = judge_of(search({"kind": kind, "grace": 1}), LAST, [mode])
    sign = 1 if mode == "max" else -1
    seen: dict[int, list[float]] = {}
    for told, verdict in verdicts(judge, story):
        reward = sign * told.values[0]
        if reward >= max(seen.get(told.level, []), default=-np.inf):
            assert verdict == GoOn()
        seen.setdefault(told.level, []).append(reward)


@given(rewards=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), factor=st.sampled_from([1.1, 2.0, 3.0, 4.0]))
def test_a_rungs_percentile_is_numpys_bit_for_bit(rewards: list[float], factor: float) -> None:
    rung = Rung()
    for i, reward in enumerate(rewards):
        rung[f"t{i:04d}"] = reward
    assert rung.percentile(1 - 1 / factor) == np.nanpercentile(rewards, (1 - 1 / factor) * 100)


def test_it_is_cheap_at_ten_thousand_trials() -> None:
    rng = np.random.default_rng(0)
    for modes in (["max"], ["max", "min"]):
        judge = judge_of(search("asha", objectives=["score", "latency_ms"][: len(modes)]), LAST, modes)
        for i in range(10_000):
            judge.recall(f"t{i:04d}", 2, list(rng.random(len(modes))))
        took = []
        for i in range(10_000, 10_200):
            values = list(rng.random(len(modes)))
            began = time.perf_counter()
            judge.hear(f"t{i:04d}", 2, values)
            took.append(time.perf_counter() - began)
        assert np.median(took) < 1e-3


def test_hyperbands_brackets_are_shared_out_evenly_and_found_again() -> None:
    judge = judge_of(search({"kind": "hyperband", "grace": 1, "brackets": 3}), 27, ["max"])
    assert isinstance(judge, Halving)
    assert judge.levels == (1, 3, 9)
    first = {f"t{i:04d}": judge.next_level(f"t{i:04d}", 0) for i in range(300)}
    shares = Counter(first.values())
    assert shares[1] > shares[3] > shares[9] > 0
    for start in range(0, 270, 30):
        few = Counter(first[f"t{i:04d}"] for i in range(start, start + 30))
        assert few[1] / 30 == pytest.approx(shares[1] / 300, abs=0.1)
    again = judge_of(search({"kind": "hyperband", "grace": 1, "brackets": 3}), 27, ["max"])
    assert {trial: again.next_level(trial, 0) for trial in first} == first


def test_brackets_that_would_begin_after_the_end_are_left_out() -> None:
    judge = judge_of(search({"kind": "hyperband", "grace": 1, "brackets": 9}), 5, ["max"])
    assert isinstance(judge, Halving)
    assert len(judge._brackets) == 2
    assert judge.levels == (1, 3)


def test_a_grace_as_long_as_the_training_stops_nobody() -> None:
    assert isinstance(judge_of(search({"kind": "asha", "grace": 9}), 9, ["max"]), NeverStops)


@pytest.mark.parametrize(
    ("more", "said"),
    [({}, "at epoch 2"), ({"folds": 5}, "after 2 folds"), ({"seeds": 5}, "after 2 seeds"),
     ({"folds": 3, "seeds": 2}, "after 2 trainings")],
)  # fmt: skip
def test_a_level_is_called_what_it_is(more: dict[str, int], said: str) -> None:
    judge = judge_of(search("asha", **more), 6, ["min"])
    judge.hear("t0000", 2, [0.12341])
    verdict = judge.hear("t0001", 2, [0.12342])
    assert verdict == Stop(f"0.12342 {said} is above 0.12341, the cut-off of 1 trial")


def test_a_stopped_trial_hears_the_same_again_later() -> None:
    judge = judge_of(search({"kind": "asha", "grace": 1, "reduction_factor": 2}), 9, ["max"])
    judge.hear("t0000", 2, [0.9])
    verdict = judge.hear("t0001", 2, [0.1])
    assert isinstance(verdict, Stop)
    assert judge.hear("t0001", 4, [0.95]) == verdict, "its stack trained on before the verdict came"
    assert judge.hear("t0001", 1, [0.1]) == GoOn(), "it went on from a checkpoint before the rung"
