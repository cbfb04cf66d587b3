"""Which rows a learning curve trains on, and what it makes of the scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.curve import (
    MIN_ROWS,
    Measured,
    Point,
    Spread,
    nested_order,
    points_of,
    spread,
    strata_of,
    subset_sizes,
)
from training.evaluation.curve_words import reading
from training.evaluation.power_law import fit_power_law
from training.metric_names import range_of


def measured(
    sizes: tuple[int, ...], error: object, repeats: int = 3, noise: float = 0.0, gap: float = 0.0
) -> list[Measured]:
    rng = np.random.default_rng(1)
    found = []
    for size in sizes:
        for repeat in range(repeats):
            score = 1 - error(size) + noise * rng.normal()  # type: ignore[operator]
            found.append(
                Measured(num_rows=size, repeat=repeat, train={"accuracy": score + gap}, validation={"accuracy": score},
                         epochs=3, best_epoch=2, num_steps=2 * size, seconds=1.0)
            )  # fmt: skip
    return found


@given(st.integers(1, 100_000), st.integers(1, 12), st.integers(0, 50))
def test_sizes_rise_to_all_rows(num_rows: int, num_points: int, num_classes: int) -> None:
    sizes = subset_sizes(num_rows, num_points, num_classes)
    assert sizes[-1] == num_rows
    assert list(sizes) == sorted(set(sizes))
    assert len(sizes) <= num_points
    assert len(sizes) == 1 or sizes[0] >= max(MIN_ROWS, 2 * num_classes)


def test_sizes_double_where_there_are_enough_rows() -> None:
    assert subset_sizes(32_000, 6) == (1000, 2000, 4000, 8000, 16000, 32000)
    assert subset_sizes(100, 3) == (25, 50, 100)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.integers(0, 100))
@settings(deadline=None)
def test_every_beginning_of_the_order_is_a_stratified_sample(classes: list[int], seed: int) -> None:
    strata = np.array(classes)
    order = nested_order(strata, (seed, 0))
    assert sorted(order.tolist()) == list(range(len(strata)))
    present = np.unique(strata)
    for size in range(len(present), len(strata) + 1):
        counts = np.bincount(strata[order[:size]], minlength=5)
        assert (counts[present] >= 1).all(), "no class is missing"
        assert np.abs(counts - size * np.bincount(strata, minlength=5) / len(strata)).max() <= len(present) + 1


def test_repeats_take_other_rows_and_the_same_seed_the_same() -> None:
    strata = np.zeros(50, dtype=int)
    assert nested_order(strata, (0, 1)).tolist() == nested_order(strata, (0, 1)).tolist()
    assert nested_order(strata, (0, 1)).tolist() != nested_order(strata, (0, 2)).tolist()


def test_a_regression_is_stratified_by_tenths_of_its_target() -> None:
    strata = strata_of(np.arange(100.0), "regression")
    assert np.bincount(strata).tolist() == [10] * 10
    assert strata_of(np.array([2, 1]), "classification").tolist() == [2, 1]


def test_points_hold_means_intervals_and_the_gap() -> None:
    found = points_of(measured((10, 20), lambda n: 2 / n, noise=0.01, gap=0.05), "accuracy")
    assert [point.num_rows for point in found] == [10, 20]
    assert found[0].gap.mean == pytest.approx(0.05)
    assert found[0].validation.low < found[0].validation.mean < found[0].validation.high  # type: ignore[operator]
    assert spread(np.array([1.0, 2.0, 3.0])).high == pytest.approx(2 + 4.302653 / np.sqrt(3))
    assert spread(np.array([1.0])).low is None
    assert points_of(measured((10,), lambda n: 1 / n), "roc_auc") == ()


def test_the_law_finds_what_twice_the_rows_bring() -> None:
    sizes = subset_sizes(32_000, 6)
    law = fit_power_law(points_of(measured(sizes, lambda n: 0.1 + 3 * n**-0.5, noise=0.0003), "accuracy"), "max")
    assert law is not None
    truth = 3 * 32_000**-0.5 * (1 - 2**-0.5)
    assert law.gain_low < truth < law.gain_high
    assert law.gain == pytest.approx(truth, rel=0.2)
    assert law.floor == pytest.approx(0.1, abs=0.02)
    assert law.doubts == ()
    assert law.sizes[-1] == 64_000


def test_its_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    sizes, held = subset_sizes(20_000, 6), []
    truth = 0.05 * (1 - 2**-0.5)
    for _ in range(40):
        noisy = [
            each.model_copy(update={"validation": {"accuracy": each.validation["accuracy"] + 0.003 * rng.normal()}})
            for each in measured(sizes, lambda n: 0.1 + 0.05 * (n / 20_000) ** -0.5)
        ]
        law = fit_power_law(points_of(noisy, "accuracy"), "max")
        assert law is not None
        held.append(law.gain_low <= truth <= law.gain_high)
    assert np.mean(held) >= 0.85


@pytest.mark.parametrize(
    ("error", "repeats", "noise", "doubt"),
    [
        (lambda n: 0.3 if n < 9000 else 0.1, 3, 0.0005, "from the smaller sizes alone it would have told"),
        (lambda n: 0.1 + 3 * n**-0.5, 1, 0.001, "each size was trained once"),
        (lambda n: 0.2 + 0.05 * np.sin(n), 3, 0.0005, "further from the law than their noise explains"),
    ],
)
def test_a_law_that_does_not_fit_is_doubted(error: object, repeats: int, noise: float, doubt: str) -> None:
    points = points_of(measured(subset_sizes(16_000, 6), error, repeats, noise), "accuracy")
    law = fit_power_law(points, "max")
    assert law is not None
    assert any(doubt in each for each in law.doubts), law.doubts
    assert any("not to be trusted" in sentence for sentence in reading(points, law, "accuracy", "max"))


def test_too_few_sizes_give_no_law() -> None:
    points = points_of(measured((100, 200, 400), lambda n: 1 / n), "accuracy")
    assert fit_power_law(points, "max") is None
    assert "at least 4 are needed" in " ".join(reading(points, None, "accuracy", "max"))


def test_the_reading_tells_variance_from_bias() -> None:
    sizes = subset_sizes(32_000, 6)
    for gap, error, said in (
        (0.0, lambda n: 0.2 + n**-0.9, ("it is small", "that is bias", "hardly anything")),
        (0.3, lambda n: 0.05 + 50 * n**-0.5, ("it is large", "bias is not what holds it back", "worth it")),
    ):
        points = points_of(measured(sizes, error, noise=0.0005, gap=gap), "accuracy")
        told = " ".join(reading(points, fit_power_law(points, "max"), "accuracy", "max"))
        for words in said:
            assert words in told, told


def test_an_interval_ends_where_the_score_does() -> None:
    told = spread(np.array([0.9, 1.0]), range_of("accuracy"))
    assert told.high == 1.0
    assert told.low is not None
    assert 0.0 <= told.low < 0.9


def test_nothing_is_said_of_more_rows_where_nothing_is_wrong() -> None:
    flawless = Spread(mean=1.0)
    point = Point(
        num_rows=100,
        num_repeats=1,
        train=flawless,
        validation=flawless,
        gap=Spread(mean=0.0),
        num_steps=200.0,
        seconds=1.0,
    )
    (sentence,) = reading([point], None, "accuracy", "max")
    assert "nothing is wrong" in sentence
