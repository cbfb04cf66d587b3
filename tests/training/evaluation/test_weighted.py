"""The fast scores are those of training: equal at unit weights, and equal to scores of repeated rows elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from training.evaluation.weighted import ClassScorer, ValueScorer
from training.metric_names import CLASSIFICATION_METRICS, METRIC_MODES, REGRESSION_METRICS, metrics_of
from training.metrics import held_out_scores
from training.package.decision import answers


def made_up(num_rows: int, num_classes: int, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, num_classes, num_rows)
    logits = rng.normal(size=(num_rows, num_classes)) + 1.5 * np.eye(num_classes)[target]
    if ties:
        logits = logits.round()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), target


def scorer(probabilities: np.ndarray, target: np.ndarray, threshold: float | None = None) -> ClassScorer:
    labels = [f"c{i}" for i in range(probabilities.shape[1])]
    return ClassScorer(probabilities, answers(probabilities, threshold), target, labels)


def ones(num_rows: int) -> np.ndarray:
    return np.ones((1, num_rows), np.uint8)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("num_classes", "threshold"), [(2, None), (2, 0.3), (3, None), (7, None)])
def test_at_unit_weights_every_score_of_a_classification_is_trainings(
    num_classes: int, threshold: float | None, ties: bool
) -> None:
    probabilities, target = made_up(500, num_classes, ties=ties)
    labels = [f"c{i}" for i in range(num_classes)]
    expected = held_out_scores("classification", probabilities, target, labels=labels, threshold=threshold)
    found = scorer(probabilities, target, threshold)(ones(500))
    assert set(found) == {*expected, "brier"}
    assert set(metrics_of("classification", num_classes)) <= set(found)
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=1e-6), name


def test_at_unit_weights_every_score_of_a_regression_is_trainings() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(3, 2, 300).astype(np.float32)
    predicted = (target + rng.normal(0, 1, 300)).astype(np.float32)
    found = ValueScorer(predicted, target)(ones(300))
    expected = held_out_scores("regression", predicted, target)
    assert set(found) == set(expected) == set(REGRESSION_METRICS)
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-5), name


def test_r2_keeps_its_digits_far_from_0() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(1e6, 2, 300)
    predicted = target + rng.normal(0, 1, 300)
    assert ValueScorer(predicted, target)(ones(300))["r2"][0] == pytest.approx(sk.r2_score(target, predicted), abs=1e-9)


def test_brier_and_log_loss_are_sklearns() -> None:
    for num_classes in (2, 4):
        probabilities, target = made_up(400, num_classes)
        found = scorer(probabilities, target)(ones(400))
        exact = probabilities.astype(float) / probabilities.astype(float).sum(axis=1, keepdims=True)
        one_of = exact[:, 1] if num_classes == 2 else exact
        assert found["brier"][0] == pytest.approx(sk.brier_score_loss(target, one_of), abs=1e-6)
        assert found["log_loss"][0] == pytest.approx(sk.log_loss(target, exact), abs=1e-6)


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 10_000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_weights_mean_repeated_rows(num_classes: int, num_rows: int, seed: int, ties: bool) -> None:
    probabilities, target = made_up(num_rows, num_classes, seed, ties)
    weights = np.random.default_rng(seed).integers(0, 4, (3, num_rows)).astype(np.uint8)
    weights[:, 0] += 1  # some row is always drawn
    found = scorer(probabilities, target)(weights)
    for r in range(3):
        rows = np.repeat(np.arange(num_rows), weights[r])
        repeated = scorer(probabilities[rows], target[rows])(ones(len(rows)))
        for name, values in found.items():
            np.testing.assert_allclose(values[r], repeated[name][0], atol=1e-9, err_msg=name)


def test_ranking_scores_are_sklearns_and_undefined_without_one_of_the_classes() -> None:
    probabilities, target = made_up(300, 2, ties=True)
    found = scorer(probabilities, target)(ones(300))
    assert found["roc_auc"][0] == pytest.approx(sk.roc_auc_score(target, probabilities[:, 1]))
    assert found["average_precision"][0] == pytest.approx(sk.average_precision_score(target, probabilities[:, 1]))
    for only in (0, 1):
        alone = scorer(probabilities, np.full(300, only))(ones(300))
        assert np.isnan(alone["roc_auc"][0])
        assert np.isfinite(alone["accuracy"][0])


def test_every_score_says_which_way_is_better() -> None:
    assert set(CLASSIFICATION_METRICS) | set(REGRESSION_METRICS) <= set(METRIC_MODES)
    constant = ValueScorer(np.ones(5), np.full(5, 3.0))(ones(5))
    assert np.isnan(constant["r2"][0])
    assert constant["rmse"][0] == 2
