"""Scores over folds and seeds: the intervals of the cross-validation, and honest words about the best of many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from training.cross_validation.record import FoldResult, spreads
from training.search.scores import Replicate, TrialScore, advantage, advantage_text, optimism_text, trial_score

scores = st.floats(0, 1)


@given(values=st.lists(scores, min_size=2, max_size=10))
def test_seeds_have_students_interval(values: list[float]) -> None:
    found = trial_score([Replicate(value, None, i) for i, value in enumerate(values)], None)
    assert found.spread.mean == pytest.approx(np.mean(values))
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    assert found.num_seeds == len(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.spread.low, found.spread.high) == (pytest.approx(low), pytest.approx(high))


@given(values=st.lists(st.lists(scores, min_size=2, max_size=2), min_size=2, max_size=8))
def test_folds_say_what_a_cross_validation_says(values: list[list[float]]) -> None:
    num_folds = len(values)
    replicates = [Replicate(score, i, j) for i, row in enumerate(values) for j, score in enumerate(row)]
    results = [
        FoldResult(fold=each.fold or 0, seed=each.seed, num_train_rows=100 * (num_folds - 1), num_held_out_rows=100,
                   scores={"accuracy": each.score}, epochs=1, best_epoch=1, seconds=1.0)
        for each in replicates
    ]  # fmt: skip
    expected, found = spreads(results)["accuracy"], trial_score(replicates, num_folds, "accuracy")
    assert found.spread.mean == pytest.approx(expected.mean)
    assert (found.spread.low, found.spread.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert (found.num_folds, found.num_seeds) == (num_folds, 2)


def test_one_training_has_no_interval() -> None:
    found = trial_score([Replicate(0.9123456)], None, "accuracy")
    assert found.standard_error is None
    assert found.text == "0.9123"
    assert trial_score([Replicate(0.9, 2, 0)], 5).standard_error is None


def test_words_name_folds_and_seeds() -> None:
    replicates = [Replicate(0.8 + 0.01 * i + 0.001 * j, i, j) for i in range(3) for j in range(2)]
    assert (
        trial_score(replicates, 3, "accuracy").text == "0.8105 (95 % interval 0.7712 to 0.8498, 3 folds times 2 seeds)"
    )
    assert trial_score(replicates[:1] + replicates[2:3], 3, "accuracy").text.endswith("2 folds)")


def test_trials_are_compared_on_what_both_have() -> None:
    hard = [0.0, 0.2, 0.4, 0.1, 0.3]  # what makes a fold hard is hard for both
    better = [Replicate(0.5 + each + 0.001 * i, i) for i, each in enumerate(hard)]
    worse = [Replicate(0.4 + each, i) for i, each in enumerate(hard[:4])]
    found = advantage(better, worse, 5, "max")
    assert found is not None
    assert found.num_folds == 4
    assert found.spread.mean == pytest.approx(0.1015)
    assert advantage_text(found, "t0001", "t0000").endswith("4 folds): more than chance")
    back = advantage(worse, better, 5, "min")
    assert back is not None
    assert back.spread.mean == pytest.approx(0.1015), "less is better there"
    noisy = advantage([Replicate(0.9, 0), Replicate(0.1, 1)], [Replicate(0.5, 0), Replicate(0.45, 1)], 2, "max")
    assert noisy is not None
    assert advantage_text(noisy, "t0001", "t0000").endswith("it may be chance")
    one = advantage([Replicate(0.9)], [Replicate(0.8)], None, "max")
    assert one is not None
    assert (
        advantage_text(one, "a", "b")
        == "a is better than b by 0.1000: from a single training of each, so it may be chance"
    )
    assert advantage([Replicate(0.9, 0)], [Replicate(0.9, 1)], 5, "max") is None


@pytest.mark.parametrize(
    ("validation", "test", "mode", "said"),
    [
        (0.96, 0.95, "max", "0.0100 worse: the best of many looks better than it is"),
        (0.95, 0.96, "max", ": the choice did not flatter it"),
        (0.30, 0.35, "min", "0.0500 worse: the best of many"),
    ],
)
def test_the_best_of_many_is_not_believed(validation: float, test: float, mode: str, said: str) -> None:
    told = optimism_text(validation, test, mode, 40)  # type: ignore[arg-type]
    assert told.startswith(f"chosen as the best of 40 trials by {validation:.4f} in validation, and {test:.4f} in test")
    assert said in told


@pytest.mark.parametrize(("test", "said"), [(0.949, "within the interval"), (0.80, "outside the interval")])
def test_folds_say_whether_a_gap_is_chance(test: float, said: str) -> None:
    score: TrialScore = trial_score([Replicate(0.94 + 0.005 * i, i) for i in range(5)], 5, "accuracy")
    assert said in optimism_text(0.95, test, "max", 40, score)
