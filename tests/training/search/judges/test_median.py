"""The median rule: Ray Tune's own verdicts, at a cost that does not grow with what was heard."""

import time
from types import SimpleNamespace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import MedianStoppingRule, TrialScheduler

from tests.training.search.judges.stories import Told, search, stories, verdicts
from training.metric_names import Mode
from training.search.judges import GoOn, Stop, judge_of

LAST = 8


class StandIn:
    """Tune keeps trials as keys."""

    def __init__(self, trial: str) -> None:
        self.trial_id = trial


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    story=stories(LAST), grace=st.integers(1, 3), fewest=st.integers(1, 4), mode=st.sampled_from(["max", "min"]),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_it_stops_whom_tunes_own_rule_stops(story: list[Told], grace: int, fewest: int, mode: Mode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    story = [Told(told.trial, told.level, (float(rng.random()),)) for told in story]  # no ties: a mean is rounded
    judge = judge_of(search({"kind": "median", "grace": grace, "min_trials": fewest}), LAST, [mode])
    tune = MedianStoppingRule("epoch", "score", mode, grace_period=grace, min_samples_required=fewest)
    controller = SimpleNamespace(get_live_trials=list)
    trials = {told.trial: StandIn(told.trial) for told in story}
    for told, verdict in verdicts(judge, story):
        if told.level == LAST:
            continue
        result = {"epoch": told.level, "score": told.values[0]}
        asked = tune.on_trial_result(controller, trials[told.trial], result)
        assert isinstance(verdict, Stop) == (asked == TrialScheduler.STOP)


def test_equal_trials_go_on_though_a_mean_is_rounded() -> None:
    judge = judge_of(search({"kind": "median", "grace": 1, "min_trials": 1}), LAST, ["max"])
    for i in range(5):
        for level in range(1, LAST):
            assert judge.hear(f"t{i:04d}", level, [0.1]) == GoOn()


def test_it_is_cheap_at_ten_thousand_trials() -> None:
    rng = np.random.default_rng(0)
    judge = judge_of(search({"kind": "median", "grace": 1}), 4, ["max"])
    for i in range(10_000):
        for level in (1, 2, 3):
            judge.recall(f"t{i:04d}", level, [float(rng.random())])
    took = []
    for i in range(10_000, 10_200):
        began = time.perf_counter()
        judge.hear(f"t{i:04d}", 1, [0.5])
        took.append(time.perf_counter() - began)
    assert np.median(took) < 1e-3
