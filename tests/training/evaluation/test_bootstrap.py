"""Intervals hold what they should, as often as they say."""

import time

import numpy as np
import pytest

from tests.training.evaluation.test_weighted import made_up, scorer
from training.evaluation.bootstrap import WEIGHTS_AT_A_TIME, Estimate, estimates, resampled
from training.evaluation.weighted import ValueScorer


def test_intervals_hold_the_truth_in_95_of_100_cases() -> None:
    """Mean absolute error of normal noise is sqrt(2 / pi), and 200 tables of 150 rows are drawn."""
    rng = np.random.default_rng(1)
    truth = np.sqrt(2 / np.pi)
    held = []
    for seed in range(200):
        found = estimates(ValueScorer(rng.normal(size=150), np.zeros(150)), 300, seed)["mae"]
        held.append(found.holds(truth))
    assert 0.91 <= np.mean(held) <= 0.98


def test_an_interval_is_as_wide_as_theory_says() -> None:
    probabilities, target = made_up(2000, 2)
    found = estimates(scorer(probabilities, target), 1000)
    accuracy = found["accuracy"]
    assert accuracy.value is not None
    assert accuracy.deviation == pytest.approx(np.sqrt(accuracy.value * (1 - accuracy.value) / 2000), rel=0.1)
    for name, each in found.items():
        assert each.value is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.value <= each.high, name


def test_the_same_seed_gives_the_same_interval() -> None:
    probabilities, target = made_up(300, 3)
    first, again, other = (estimates(scorer(probabilities, target), 100, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_resamples_are_of_all_rows_and_come_in_parts_that_fit() -> None:
    parts = list(resampled(1000, 10_000, 0))
    assert len(parts) > 1
    assert all(part.size <= WEIGHTS_AT_A_TIME for part in parts)
    drawn = np.concatenate(parts)
    assert drawn.shape == (10_000, 1000)
    assert (drawn.sum(axis=1, dtype=int) == 1000).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(1000), abs=0.06)


def test_a_score_that_most_resamples_lack_has_no_interval() -> None:
    probabilities, _ = made_up(50, 2)
    found = estimates(scorer(probabilities, np.zeros(50, dtype=int)), 50)["roc_auc"]
    assert found == Estimate(value=None)
    assert found.holds(0.5) is None
    assert estimates(scorer(probabilities, np.arange(50) % 2), 0)["accuracy"].low is None


def test_1000_resamples_of_16_000_rows_take_seconds() -> None:
    probabilities, target = made_up(16_000, 2)
    began = time.perf_counter()
    estimates(scorer(probabilities, target), 1000)
    assert time.perf_counter() - began < 15, "about 1 s alone; tests share their cores"
