"""Calibration: right probabilities pass, wrong ones are told by how much."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from training.evaluation.calibration import calibration, equal_bins, residuals, wilson_interval


def said_and_came(num_rows: int, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    said = rng.beta(1, 3, num_rows)
    came = rng.random(num_rows) < np.clip(said + shift, 0, 1)
    return np.stack([1 - said, said], axis=1), came.astype(int)


def test_right_probabilities_are_off_by_no_more_than_chance() -> None:
    judged = [calibration(*said_and_came(2000, seed=seed), ("no", "yes"), seed) for seed in range(40)]
    assert np.mean([each.expected_error <= each.chance for each in judged]) >= 0.85


def test_wrong_probabilities_are_off_by_what_they_are_wrong() -> None:
    found = calibration(*said_and_came(20_000, shift=-0.1), ("no", "yes"))
    assert found.about == "probability of yes"
    assert found.expected_error > 3 * found.chance
    assert found.expected_error == pytest.approx(found.bias, abs=0.01)
    assert 0.05 < found.bias < 0.1  # where 0.1 would lead below 0 it is less
    assert sum(each.num_rows for each in found.bins) == 20_000


def test_bins_are_sklearns() -> None:
    probabilities, came = said_and_came(1501)
    found = calibration(probabilities, came, ("no", "yes"))
    share, mean = calibration_curve(came, probabilities[:, 1], n_bins=15, strategy="quantile")
    np.testing.assert_allclose([each.said for each in found.bins], mean, atol=2e-3)
    np.testing.assert_allclose([each.came for each in found.bins], share, atol=0.02)
    assert all(each.low <= each.came <= each.high for each in found.bins)


def test_of_several_classes_the_answer_given_is_judged() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 3000)
    target = np.array([rng.choice(3, p=row) for row in probabilities])
    found = calibration(probabilities, target, ("a", "b", "c"))
    assert found.about == "highest probability"
    assert found.expected_error <= 1.5 * found.chance


def test_equal_values_share_a_bin() -> None:
    bins, num_bins = equal_bins(np.array([0.5] * 99 + [0.7]))
    assert num_bins == 2
    assert bins.tolist() == [0] * 99 + [1]
    assert equal_bins(np.full(10, 0.3))[1] == 1


def test_the_interval_of_a_share_is_sound_at_its_ends() -> None:
    assert wilson_interval(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-3))
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    assert wilson_interval(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


def test_residuals_show_where_predictions_are_worse() -> None:
    """Noise grows with the prediction, so one band of 90 % holds all of the lowest tenth and too little of the last."""
    rng = np.random.default_rng(0)
    predicted = rng.uniform(1, 10, 5000)
    found = residuals(predicted, predicted + rng.normal(0, predicted / 5))
    assert len(found.deciles) == 10
    assert found.deciles[0].covered > 0.99
    assert found.deciles[-1].covered < 0.8
    assert found.quantiles["0.5"] == pytest.approx(0, abs=0.05)
    assert np.mean([tenth.covered for tenth in found.deciles]) == pytest.approx(0.9, abs=0.005)
    assert residuals(np.ones(5), np.arange(5.0)).deciles[0].num_rows == 5
