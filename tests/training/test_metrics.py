"""Scores mean what scikit-learn means by them, and say nothing where they do not exist."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from training.metric_names import is_better, metrics_of
from training.metrics import MAX_CLASSES_TOLD, Scores, held_out_scores


def drawn(num_classes: int, num_rows: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets; rounded, so that many scores are equal."""
    draw = np.random.default_rng(seed)
    target = draw.integers(0, num_classes, num_rows)
    raw = draw.dirichlet(np.ones(num_classes), num_rows) + 0.3 * np.eye(num_classes)[target]
    return np.round(raw / raw.sum(axis=1, keepdims=True), 2).astype(np.float32), target


@pytest.mark.parametrize("threshold", [None, 0.3, 0.8])
def test_two_classes(threshold: float | None) -> None:
    draw = np.random.default_rng(0)
    target = draw.integers(0, 2, 200)
    positive = np.clip(target * 0.3 + draw.random(200) * 0.7, 0.01, 0.99).astype(np.float32)
    probabilities = np.stack([1 - positive, positive], axis=1)
    scores = held_out_scores("classification", probabilities, target, threshold=threshold)
    answer = positive > 0.5 if threshold is None else positive >= threshold
    assert scores == pytest.approx(
        {
            "accuracy": sk.accuracy_score(target, answer),
            "balanced_accuracy": sk.balanced_accuracy_score(target, answer),
            "f1_macro": sk.f1_score(target, answer, average="macro"),
            "mcc": sk.matthews_corrcoef(target, answer),
            "f1": sk.f1_score(target, answer),
            "precision": sk.precision_score(target, answer),
            "recall": sk.recall_score(target, answer),
            "roc_auc": sk.roc_auc_score(target, positive),
            "average_precision": sk.average_precision_score(target, positive),
            "log_loss": pytest.approx(sk.log_loss(target, positive), abs=1e-5),
        }
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 6), st.integers(0, 1000))
def test_more_classes(num_classes: int, seed: int) -> None:
    probabilities, target = drawn(num_classes, seed=seed)
    labels = [f"class {i}" for i in range(num_classes)]
    scores = held_out_scores("classification", probabilities, target, labels=labels)
    answer, one_hot = probabilities.argmax(axis=1), np.eye(num_classes)[target]
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(target, answer))
    assert scores["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(target, answer))
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(target, answer, average="macro"))
    assert scores["mcc"] == pytest.approx(sk.matthews_corrcoef(target, answer))
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(one_hot, probabilities, average="macro"))
    assert scores["average_precision"] == pytest.approx(
        sk.average_precision_score(one_hot, probabilities, average="macro")
    )
    of_each = sk.f1_score(target, answer, average=None)
    assert [scores[f"f1/{label}"] for label in labels] == pytest.approx(list(of_each))


def test_batches_and_reuse_change_nothing() -> None:
    probabilities, target = (torch.from_numpy(values) for values in drawn(40, 500))
    whole, parts = Scores("classification", 40), Scores("classification", 40)
    whole.update(probabilities, target)
    expected = whole.compute()
    for _ in range(2):
        for rows in torch.arange(500).split(77):
            parts.update(probabilities[rows], target[rows])
        assert parts.compute() == pytest.approx(expected)


def test_every_score_of_a_task_has_a_name_that_can_decide() -> None:
    for num_classes in (2, 4):
        scores = held_out_scores("classification", *drawn(num_classes))
        assert set(scores) == set(metrics_of("classification", num_classes))
    numbers = np.arange(5, dtype=np.float32)
    assert set(held_out_scores("regression", numbers, numbers + 1)) == set(metrics_of("regression", 0))


def test_rows_of_one_class_have_no_curve() -> None:
    probabilities = drawn(2)[0]
    scores = held_out_scores("classification", probabilities, np.zeros(200, dtype=np.int64))
    assert "roc_auc" not in scores
    assert "average_precision" not in scores
    assert scores["mcc"] == 0
    missing = Scores("classification", 2)
    missing.update(torch.from_numpy(probabilities), torch.ones(200, dtype=torch.int64))
    assert math.isnan(missing.compute()["roc_auc"])


def test_a_class_that_no_row_has_is_left_out_of_the_means() -> None:
    probabilities, target = drawn(4)
    target[target == 3] = 0
    scores = held_out_scores("classification", probabilities, target)
    answer = probabilities.argmax(axis=1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert scores["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(target, answer))
    one_hot = np.eye(4)[target][:, :3]
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(one_hot, probabilities[:, :3], average="macro"))


def test_a_thousand_classes_have_no_line_each() -> None:
    num_classes = MAX_CLASSES_TOLD + 1
    scores = held_out_scores("classification", *drawn(num_classes), labels=[str(i) for i in range(num_classes)])
    assert not [name for name in scores if name.startswith("f1/")]


def test_regression() -> None:
    draw = np.random.default_rng(0)
    target = draw.normal(size=100).astype(np.float32)
    predicted = (target + draw.normal(size=100) * 0.1).astype(np.float32)
    scores = held_out_scores("regression", predicted, target)
    assert scores["rmse"] == pytest.approx(sk.root_mean_squared_error(target, predicted), rel=1e-5)
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted), rel=1e-5)
    assert scores["r2"] == pytest.approx(sk.r2_score(target, predicted), rel=1e-5)


@pytest.mark.parametrize(("mean", "scale"), [(0, 1), (1e4, 1), (1e6, 1), (0, 1e-3), (0, 1e-12), (-5e3, 1e6)])
def test_r2_keeps_its_digits_far_from_0_and_in_small_units_batch_by_batch(mean: float, scale: float) -> None:
    draw = np.random.default_rng(0)
    target = (mean + scale * draw.normal(size=200)).astype(np.float32)
    predicted = (target + 0.3 * scale * draw.normal(size=200)).astype(np.float32)
    collector = Scores("regression", 0)
    for _ in range(2):  # the second time over: it starts afresh
        for rows in (slice(0, 7), slice(7, 8), slice(8, 200)):
            collector.update(torch.from_numpy(predicted[rows]), torch.from_numpy(target[rows]))
        scores = collector.compute()
        exact = target.astype(np.float64), predicted.astype(np.float64)
        assert scores["r2"] == pytest.approx(sk.r2_score(*exact), rel=1e-9)
        assert scores["rmse"] == pytest.approx(sk.root_mean_squared_error(*exact), rel=1e-9)
        assert scores["mae"] == pytest.approx(sk.mean_absolute_error(*exact), rel=1e-9)


def test_a_target_that_does_not_vary_has_no_r2() -> None:
    target = np.full(53, 3.3e7, dtype=np.float32)
    assert set(held_out_scores("regression", target + 8, target)) == {"rmse", "mae"}
    target[7] = np.nextafter(target[7], np.float32(np.inf))
    assert held_out_scores("regression", target, target)["r2"] == 1


def test_one_row_has_no_r2() -> None:
    one = np.ones(1, dtype=np.float32)
    assert set(held_out_scores("regression", one, one)) == {"rmse", "mae"}


def test_nan_beats_nothing_and_anything_beats_nothing() -> None:
    assert not is_better(float("nan"), None, "max")
    assert is_better(0.1, None, "max")
    assert is_better(0.1, 0.2, "min")
    assert not is_better(0.21, 0.2, "max", min_delta=0.05)
