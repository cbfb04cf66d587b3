"""Class-balanced order: every class equally often, and every row in its turn."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.order import balanced_order


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(0, 40), st.integers(0, 3))
def test_classes_and_the_rows_of_each_come_equally_often(target: list[int], epoch: int, seed: int) -> None:
    target_N = np.array(target)
    order = balanced_order(target_N, seed, epoch)
    assert len(order) == len(target_N)
    drawn_of_class = [int((target_N[order] == label).sum()) for label in np.unique(target_N)]
    assert max(drawn_of_class) - min(drawn_of_class) <= 1
    times_N = np.bincount(order, minlength=len(target_N))
    for label in np.unique(target_N):
        times = times_N[target_N == label]
        assert times.max() - times.min() <= 1


def test_a_common_class_is_seen_whole_over_epochs_and_none_of_it_twice_before() -> None:
    target_N = np.array([0] * 90 + [1] * 10)
    seen = np.concatenate([balanced_order(target_N, 0, epoch) for epoch in range(9)])
    times_N = np.bincount(seen, minlength=100)
    assert set(times_N[:90]) == {5}  # 9 epochs of 50 draws
    assert set(times_N[90:]) == {45}


def test_it_is_a_pure_function_of_seed_and_epoch() -> None:
    target_N = np.random.default_rng(0).integers(0, 3, 300)
    one = balanced_order(target_N, 1, 4)
    np.testing.assert_array_equal(one, balanced_order(target_N, 1, 4))
    assert (one != balanced_order(target_N, 1, 5)).any()
    assert (one != balanced_order(target_N, 2, 4)).any()


def test_the_odd_draw_goes_round_the_classes() -> None:
    target_N = np.array([0, 0, 1, 2])
    shares = [np.bincount(target_N[balanced_order(target_N, 0, epoch)], minlength=3) for epoch in range(3)]
    np.testing.assert_array_equal(np.sum(shares, axis=0), [4, 4, 4])
