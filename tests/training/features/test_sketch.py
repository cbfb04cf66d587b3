"""Quantiles and moments of numbers that come in parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.features.moments import Moments
from training.features.sketch import CAPACITY, RANK_ERROR, QuantileSketch, weighted_quantiles

RNG = np.random.default_rng(0)
SHARES = np.linspace(0, 1, 101)
FINITE = st.floats(-1e6, 1e6, width=32)


def merged(parts: list[np.ndarray], capacity: int | None = CAPACITY) -> QuantileSketch:
    sketch = QuantileSketch(parts[0], capacity)
    for part in parts[1:]:
        sketch = sketch.merge(QuantileSketch(part, capacity))
    return sketch


@given(st.lists(FINITE, min_size=1, max_size=60), st.integers(1, 5))
def test_few_numbers_give_exact_quantiles_in_any_parts(numbers: list[float], num_parts: int) -> None:
    array = np.array(numbers, np.float32)
    expected = np.quantile(array.astype(np.float64), SHARES)
    for capacity in (None, CAPACITY):
        sketch = merged(np.array_split(array, num_parts), capacity)
        np.testing.assert_allclose(sketch.quantiles(SHARES.tolist()), expected, rtol=1e-12, atol=1e-9)
    values, weights = sketch.weighted()
    np.testing.assert_allclose(weighted_quantiles(values, weights, SHARES.tolist()), expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("num_parts", [1, 7, 300])
@pytest.mark.parametrize(
    "numbers",
    [
        RNG.normal(size=400_000).astype(np.float32),
        np.sort(RNG.exponential(size=400_000)),
        RNG.integers(0, 40, 400_000).astype(np.float32),
        (RNG.random(400_000) < 0.4).astype(np.float32),
    ],
    ids=["normal", "sorted", "few values", "two values"],
)
def test_many_numbers_give_quantiles_within_the_stated_rank_error(numbers: np.ndarray, num_parts: int) -> None:
    sketch = merged(np.array_split(numbers, num_parts))
    assert not sketch.is_exact
    found, in_order = sketch.quantiles(SHARES.tolist()), np.sort(numbers)
    low = np.searchsorted(in_order, found, side="left") / len(numbers)
    high = np.searchsorted(in_order, found, side="right") / len(numbers)
    assert (np.maximum(low - SHARES, SHARES - high) <= RANK_ERROR).all()
    assert (found[0], found[-1]) == (numbers.min(), numbers.max())
    assert sketch.weighted()[1].sum() == pytest.approx(len(numbers), rel=1e-4)


def test_a_sketch_stays_small() -> None:
    sketch = merged([RNG.normal(size=50_000).astype(np.float32) for _ in range(40)])
    assert len(sketch.weighted()[0]) < 10 * CAPACITY


@given(st.lists(FINITE, min_size=1, max_size=40), st.integers(1, 4))
def test_moments_of_parts_are_those_of_the_whole(numbers: list[float], num_parts: int) -> None:
    whole = np.array(numbers)
    found = Moments()
    for part in np.array_split(whole, num_parts):
        found = found.merge(Moments.of(part))
    assert found.count == len(whole)
    assert found.mean == pytest.approx(whole.mean(), rel=1e-9, abs=1e-6)
    assert (found.minimum, found.maximum) == (whole.min(), whole.max())
    spread = whole.std() if whole.min() < whole.max() else 1.0
    assert found.deviation == pytest.approx(spread, rel=1e-6, abs=1e-6)
    repeated = Moments.of(whole).merge(Moments.repeated(2.0, 3))
    assert repeated.mean == pytest.approx(np.append(whole, [2, 2, 2]).mean(), rel=1e-9, abs=1e-6)


def test_equal_numbers_have_scale_1() -> None:
    assert Moments.of(np.full(1000, 0.1, np.float32)).deviation == 1.0
    assert Moments.of(np.full(3, 1e30, np.float32)).deviation == 1.0
