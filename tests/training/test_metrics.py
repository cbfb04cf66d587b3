"""Scores mean what scikit-learn means by them, and say nothing where they do not exist."""

import numpy as np
import pytest
from sklearn import metrics as sk

from training.metric_names import is_better
from training.metrics import held_out_scores


def test_two_classes() -> None:
    draw = np.random.default_rng(0)
    target = draw.integers(0, 2, 200)
    positive = np.clip(target * 0.3 + draw.random(200) * 0.7, 0.01, 0.99).astype(np.float32)
    scores = held_out_scores("classification", np.stack([1 - positive, positive], axis=1), target)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(target, positive > 0.5), abs=1e-6)
    assert scores["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(target, positive > 0.5), abs=1e-6)
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(target, positive > 0.5, average="macro"), abs=1e-6)
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(target, positive), abs=1e-6)
    assert scores["average_precision"] == pytest.approx(sk.average_precision_score(target, positive), abs=1e-6)
    assert scores["log_loss"] == pytest.approx(sk.log_loss(target, positive), abs=1e-5)


def test_regression() -> None:
    draw = np.random.default_rng(0)
    target = draw.normal(size=100).astype(np.float32)
    predicted = (target + draw.normal(size=100) * 0.1).astype(np.float32)
    scores = held_out_scores("regression", predicted, target)
    assert scores["rmse"] == pytest.approx(sk.root_mean_squared_error(target, predicted), rel=1e-5)
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted), rel=1e-5)
    assert scores["r2"] == pytest.approx(sk.r2_score(target, predicted), rel=1e-5)


def test_one_row_has_no_r2() -> None:
    one = np.ones(1, dtype=np.float32)
    assert set(held_out_scores("regression", one, one)) == {"rmse", "mae"}


def test_nan_beats_nothing_and_anything_beats_nothing() -> None:
    assert not is_better(float("nan"), None, "max")
    assert is_better(0.1, None, "max")
    assert is_better(0.1, 0.2, "min")
    assert not is_better(0.21, 0.2, "max", min_delta=0.05)
