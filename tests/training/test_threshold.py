"""Tuned thresholds: the best there is, checked against every other one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor, nn

from training.data.prepared import Facts, Part
from training.errors import DataError
from training.learning_config import ImbalanceConfig
from training.package.decision import answers
from training.package.transforms import Transforms
from training.threshold import Goal, best_threshold, threshold_of

SCORES = {
    "f1": lambda target, answer: sk.f1_score(target, answer, zero_division=0.0),
    "balanced_accuracy": sk.balanced_accuracy_score,
    "mcc": sk.matthews_corrcoef,
}


def score(goal: Goal, threshold: float, probability: np.ndarray, target: np.ndarray) -> float:
    answer = answers(np.stack([1 - probability, probability], axis=1), threshold)
    return float(SCORES[goal](target, answer))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40),
    st.sampled_from(["f1", "balanced_accuracy", "mcc"]),
)
def test_no_other_threshold_is_better(rows: list[tuple[int, bool]], goal: Goal) -> None:
    """Scores of 13 values, so most rows have equals; 0 and 1 are among them."""
    probability = np.array([number / 12 for number, _ in rows] + [0.5, 0.25], dtype=np.float32)
    target = np.array([is_positive for _, is_positive in rows] + [True, False])
    found = score(goal, best_threshold(probability, target, goal), probability, target)
    best = max(score(goal, threshold, probability, target) for threshold in np.arange(-0.5, 14) / 12)
    assert found == pytest.approx(best, abs=1e-12)


def test_it_lies_midway_and_a_probability_on_it_is_positive() -> None:
    probability = np.array([0.1, 0.2, 0.6, 0.9], dtype=np.float32)
    threshold = best_threshold(probability, np.array([False, False, True, True]), "f1")
    assert threshold == pytest.approx(0.4)
    on_it = np.array([[1 - threshold, threshold]], dtype=np.float32)
    assert answers(on_it, threshold).tolist() == [1]


def test_between_neighbours_of_float32_there_is_still_a_threshold() -> None:
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    probability = np.array([low, high], dtype=np.float32)
    threshold = best_threshold(probability, np.array([False, True]), "mcc")
    assert answers(np.stack([1 - probability, probability], axis=1), threshold).tolist() == [0, 1]


def test_a_fixed_threshold_meets_the_probability_of_that_name() -> None:
    assert answers(np.array([[0.7, 0.3]], dtype=np.float32), 0.3).tolist() == [1]


class Sure(nn.Module):
    """Gives the log of its input as the probability of the second class."""

    def forward(self, numeric: Tensor) -> Tensor:
        return torch.cat([1 - numeric, numeric], dim=1).log()


def facts() -> Facts:
    return Facts("classification", ("no", "yes"), (), Transforms(), 0.0, 1.0, "")


def validation(target: list[int]) -> Part:
    values = np.linspace(0.1, 0.9, len(target), dtype=np.float32)[:, None]
    values.flags.writeable = False  # as arrays from the object store are
    return Part({"numeric": values}, np.array(target))


def test_it_is_tuned_on_the_models_own_answers_to_validation_rows() -> None:
    config = ImbalanceConfig(threshold="f1")
    assert threshold_of(config, Sure(), facts(), validation([0, 0, 0, 0, 1])) == pytest.approx(0.8)
    assert threshold_of(ImbalanceConfig(threshold=0.25), Sure(), facts(), validation([0, 0])) == 0.25
    assert threshold_of(ImbalanceConfig(), Sure(), facts(), validation([0, 0])) is None


def test_a_class_without_validation_rows_is_said() -> None:
    with pytest.raises(DataError, match="3 of 'no', 0 of 'yes'"):
        threshold_of(ImbalanceConfig(threshold="mcc"), Sure(), facts(), validation([0, 0, 0]))
