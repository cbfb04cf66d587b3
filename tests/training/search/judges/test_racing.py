"""Racing: Optuna's WilcoxonPruner on the same parts, and when it can stop anybody at all."""

import time
import warnings

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.training.search.judges.stories import search
from training.metric_names import Mode
from training.search.judges import GoOn, Stop, judge_of
from training.search.judges.racing import behind, first_chance, why_never

FOLDS = 8


def optuna_prunes(best: list[float], parts: list[float], p_value: float, mode: Mode) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=p_value, n_startup_steps=2)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize", pruner=pruner)
    study.add_trial(optuna.trial.create_trial(value=float(np.mean(best)), intermediate_values=dict(enumerate(best))))
    trial = study.ask()
    for i, part in enumerate(parts):
        trial.report(part, i)
    return trial.should_prune()


@settings(max_examples=100, deadline=None)
@given(
    best=st.lists(st.integers(0, 12), min_size=FOLDS, max_size=FOLDS),
    parts=st.lists(st.integers(0, 12), min_size=2, max_size=FOLDS - 1),
    p_value=st.sampled_from([0.05, 0.1, 0.2, 0.3]),
    mode=st.sampled_from(["max", "min"]),
)
def test_it_stops_whom_optunas_pruner_stops(best: list[int], parts: list[int], p_value: float, mode: Mode) -> None:
    judge = judge_of(search({"kind": "racing", "p_value": p_value, "grace": 2}, folds=FOLDS), FOLDS, [mode])
    judge.hear("t0000", FOLDS, [float(np.mean(best))], best)
    verdict = judge.hear("t0001", len(parts), [float(np.mean(parts))], parts)
    assert isinstance(verdict, Stop) == optuna_prunes(
        [float(each) for each in best], [float(each) for each in parts], p_value, mode
    )


@settings(max_examples=80, deadline=None)
@given(differences=st.lists(st.integers(-3, 3), min_size=2, max_size=7))
def test_p_values_are_scipys_also_where_differences_are_equal(differences: list[int]) -> None:
    differences_K = np.array(differences, dtype=float)
    expected = stats.wilcoxon(differences_K, alternative="greater", zero_method="zsplit").pvalue
    assert behind(differences_K) == pytest.approx(expected)


def test_equal_differences_do_not_hold_the_driver_up() -> None:
    began = time.process_time()
    assert behind(np.array([0.25, 0.5] * 6)) == pytest.approx(0.5**12)
    assert time.process_time() - began < 0.5, "scipy.stats.wilcoxon takes a second"


@pytest.mark.parametrize(("p_value", "needed"), [(0.1, 4), (0.05, 5), (0.2, 3), (0.3, 2), (0.9, 2)])
def test_the_first_rung_is_where_the_test_can_first_say_it(p_value: float, needed: int) -> None:
    assert first_chance(p_value) == needed
    judge = judge_of(search({"kind": "racing", "p_value": p_value}, folds=10), 10, ["max"])
    assert judge.levels == tuple(range(needed, 10))
    judge.hear("t0000", 10, [0.9], [0.9 + 0.001 * i for i in range(10)])
    parts = [0.1 + 0.002 * i for i in range(10)]
    if needed > 2:
        assert judge.hear("t0001", needed - 1, [0.1], parts[: needed - 1]) == GoOn()
    verdict = judge.hear("t0001", needed, [0.1], parts[:needed])
    assert isinstance(verdict, Stop)
    assert f"by {needed} pairs with p = {0.5**needed:.3g}" in verdict.reason


def test_it_says_where_it_can_stop_nobody() -> None:
    assert why_never(0.1, 5) is None
    told = why_never(0.1, 4)
    assert told is not None
    assert "smallest p of 3 pairs is 0.125" in told
    assert "folds times seeds of 5" in told
    assert judge_of(search("racing", folds=4), 4, ["max"]).levels == ()


def test_a_mean_as_good_as_the_bests_is_never_stopped() -> None:
    """The best was a little better on the easy folds, and then there were hard ones."""
    judge = judge_of(search("racing", folds=8), 8, ["max"])
    best, parts = [0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1], [0.89, 0.88, 0.87, 0.86]
    assert behind(np.subtract(best[:4], parts)) < 0.1
    assert not optuna_prunes(best, parts, 0.1, "max")
    judge.hear("t0000", 8, [0.5], best)
    assert judge.hear("t0001", 4, [0.875], parts) == GoOn()


def test_a_fold_without_a_score_ends_the_race() -> None:
    judge = judge_of(search("racing", folds=6), 6, ["max"])
    verdict = judge.hear("t0000", 4, [float("nan")], [0.9, 0.9, float("nan"), 0.9])
    assert verdict == Stop("training 3 of 4 gave no score, so the trial cannot be the best")


def test_the_best_is_the_best_of_those_that_are_complete() -> None:
    judge = judge_of(search("racing", folds=6), 6, ["max"])
    weak = [0.5 + 0.01 * i for i in range(6)]
    judge.hear("t0000", 6, [float(np.mean(weak))], weak)
    judge.hear("t0001", 5, [0.9], [0.9] * 5)  # not complete
    parts = [0.6 + 0.002 * i for i in range(4)]
    assert judge.hear("t0002", 4, [float(np.mean(parts))], parts) == GoOn()
    judge.hear("t0001", 6, [0.9], [0.9] * 6)
    verdict = judge.hear("t0003", 4, [float(np.mean(parts))], parts)
    assert isinstance(verdict, Stop)
    assert "of t0001" in verdict.reason
