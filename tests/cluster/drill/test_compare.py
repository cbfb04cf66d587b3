"""Two runs are compared to the bit."""

import math

import pytest
import torch

from cluster.drill.compare import compare_history, compare_weights

WEIGHTS = {"a": torch.tensor([1.0, 2.0]), "steps": torch.tensor(3)}


def test_the_same_bits_are_equal() -> None:
    difference = compare_weights(WEIGHTS, {name: tensor.clone() for name, tensor in WEIGHTS.items()})
    assert difference.is_equal
    assert difference.num_compared == 2


@pytest.mark.parametrize(
    ("other", "largest", "where"),
    [
        ({"a": torch.tensor([1.0, 2.5]), "steps": torch.tensor(3)}, 0.5, "a"),
        ({"a": torch.tensor([1.0, 2.0]), "steps": torch.tensor(5)}, 2.0, "steps"),
        ({"a": torch.tensor([1.0, 2.0])}, math.inf, "steps"),
        ({**WEIGHTS, "b": torch.zeros(1)}, math.inf, "b"),
        ({**WEIGHTS, "a": torch.tensor([[1.0, 2.0]])}, math.inf, "a"),
        ({**WEIGHTS, "a": torch.tensor([1.0, math.nan])}, math.inf, "a"),
    ],
)
def test_the_largest_difference_is_named(other: dict[str, torch.Tensor], largest: float, where: str) -> None:
    difference = compare_weights(WEIGHTS, other)
    assert (difference.largest, difference.where, difference.is_equal) == (largest, where, False)


def test_a_zero_of_another_sign_is_not_the_same_bits() -> None:
    difference = compare_weights({"a": torch.zeros(2)}, {"a": -torch.zeros(2)})
    assert (difference.largest, difference.where) == (0.0, "a")


def test_the_smallest_step_of_a_float_is_seen() -> None:
    one = torch.tensor([1.0])
    assert not compare_weights({"a": one}, {"a": torch.nextafter(one, torch.tensor([2.0]))}).is_equal


def test_a_history_is_equal_whatever_its_seconds() -> None:
    one = [{"train/loss": 0.5, "validation/accuracy": None, "seconds": 1.0}]
    assert compare_history(one, [{**one[0], "seconds": 7.0}]).is_equal
    assert compare_history(one, [dict(one[0])]).num_compared == 2


def test_where_a_history_differs_is_said() -> None:
    one = [{"train/loss": 0.5}, {"train/loss": 0.25}]
    difference = compare_history(one, [{"train/loss": 0.5}, {"train/loss": 0.75}])
    assert (difference.largest, difference.where) == (0.5, "train/loss in epoch 2")
    assert compare_history(one, one[:1]).where == "2 epochs and 1"
    assert compare_history(one, [one[0], {"train/loss": None}]).largest == math.inf
