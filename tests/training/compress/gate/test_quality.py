"""What a form loses: the whole with an interval, and the slice that a mean would hide."""

import numpy as np
import pyarrow as pa
import pytest

from training.compress.gate.goodness import MOST, drop_of
from training.compress.gate.quality import CLASS, Judge
from training.compress.held_out import HeldOut
from training.errors import DataError

NUM_ROWS = 2000
RNG = np.random.default_rng(0)
TARGET = RNG.integers(0, 2, NUM_ROWS)
GROUP = np.where(np.arange(NUM_ROWS) < 200, "few", "many")


def answering(classes: np.ndarray) -> np.ndarray:
    """Probabilities that answer these classes."""
    return np.where(classes[:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)


def flipped(rows: np.ndarray) -> np.ndarray:
    """The truth, wrong in these rows."""
    answer = TARGET.copy()
    answer[rows] = 1 - answer[rows]
    return answering(answer)


def people(columns: bool = True) -> HeldOut:
    return HeldOut(
        "classification", ("no", "yes"), {}, TARGET, columns={"group": pa.chunked_array([GROUP])} if columns else {}
    )


@pytest.fixture
def baseline() -> np.ndarray:
    return flipped(np.arange(0, NUM_ROWS, 20))  # 95 % right, in every slice


def test_what_answers_the_same_has_lost_nothing(baseline: np.ndarray) -> None:
    quality = Judge(people(), baseline, "accuracy", "max", 0.01).quality(baseline.copy())
    assert (quality.drop, quality.low, quality.high, quality.num_other_answers) == (0.0, 0.0, 0.0, 0)
    assert not any(part.sacrificed for part in quality.slices)
    assert {(part.column, part.value) for part in quality.slices} == {
        (CLASS, "no"), (CLASS, "yes"), ("group", "few"), ("group", "many")
    }  # fmt: skip


def test_a_loss_has_an_interval_that_pairs_the_rows(baseline: np.ndarray) -> None:
    worse = flipped(np.union1d(np.arange(0, NUM_ROWS, 20), np.arange(1, 400, 20)))  # 20 rows more are wrong
    quality = Judge(people(), baseline, "accuracy", "max", 0.01).quality(worse)
    assert quality.drop == pytest.approx(20 / NUM_ROWS)
    assert quality.num_other_answers == 20
    # Unpaired, the interval of a difference of two accuracies would be 0.027 wide and hold 0.
    assert 0.004 < quality.low < quality.drop < quality.high < 0.016


def test_a_group_that_is_sacrificed_for_the_mean_is_found(baseline: np.ndarray) -> None:
    wrong_before = np.arange(0, NUM_ROWS, 20)
    worse = flipped(np.union1d(np.setdiff1d(wrong_before, np.arange(400, 800)), np.arange(1, 200, 10)))
    quality = Judge(people(), baseline, "accuracy", "max", 0.02).quality(worse)
    assert quality.drop == 0.0  # 20 rows lost among the few, 20 won among the many
    few = next(part for part in quality.slices if part.value == "few")
    assert (few.num_rows, few.sacrificed) == (200, True)
    assert few.drop == pytest.approx(0.1)
    assert few.p_value < 0.001
    assert [part.value for part in quality.slices if part.sacrificed] == ["few"]


def test_one_row_less_in_a_small_slice_is_chance() -> None:
    target_rows = np.arange(12)
    small = HeldOut("classification", ("no", "yes"), {}, TARGET[target_rows])
    before = answering(TARGET[target_rows])
    after = before.copy()
    after[0] = after[0][::-1]
    quality = Judge(small, before, "accuracy", "max", 0.01).quality(after)
    assert quality.drop > 0.05
    assert not any(part.sacrificed for part in quality.slices)


def test_numbers_are_judged_by_their_relative_error() -> None:
    target = RNG.normal(100, 10, 500).astype(np.float32)
    before = target + RNG.normal(0, 2, 500).astype(np.float32)
    column = pa.chunked_array([np.where(np.arange(500) < 100, "old", "new")])
    held_out = HeldOut("regression", (), {}, target, columns={"age": column})
    after = before.copy()
    after[:100] += 3 * np.sign(after[:100] - target[:100])  # further off, among the old alone
    quality = Judge(held_out, before, "rmse", "min", 0.05).quality(after)
    assert quality.drop > 0.3
    assert quality.low > 0.1
    assert [part.value for part in quality.slices if part.sacrificed] == ["old"]


def test_several_labels_a_row_are_judged_too() -> None:
    target = RNG.integers(0, 2, (300, 3)).astype(np.float32)
    before = np.where(target > 0.5, 0.8, 0.2).astype(np.float32)
    after = before.copy()
    after[:30, 0] = 1 - after[:30, 0]
    quality = Judge(HeldOut("multilabel", ("a", "b", "c"), {}, target), before, "f1_micro", "max", 0.01).quality(after)
    assert quality.drop > 0.01
    assert quality.num_other_answers == 30


def test_a_baseline_without_error_cannot_be_lost_from_by_a_share() -> None:
    assert drop_of(0.0, 0.0, "min") == 0.0
    assert drop_of(0.0, 0.1, "min") == MOST
    assert drop_of(2.0, 2.1, "min") == pytest.approx(0.05)
    assert drop_of(0.9, 0.8, "max") == pytest.approx(0.1)


def test_a_group_of_numbers_whose_mean_error_a_few_rows_make_is_found() -> None:
    """15 of 100 get far worse, 85 a little better: the median says that it improved."""
    target = np.zeros(4000, dtype=np.float32)
    before = RNG.normal(0, 1, 4000).astype(np.float32)
    after = before.copy()
    after[:15] *= 2.5
    after[15:100] *= 0.999
    column = pa.chunked_array([np.where(np.arange(4000) < 100, "few", "many")])
    held_out = HeldOut("regression", (), {}, target, columns={"group": column})
    quality = Judge(held_out, before, "mae", "min", 0.05).quality(after)
    assert quality.drop < 0.02
    assert [part.value for part in quality.slices if part.sacrificed] == ["few"]


def test_a_small_group_is_found_among_many_slices() -> None:
    """Slices that could never show anything do not make it harder for those that could."""
    target = np.zeros(3280, dtype=np.int64)
    names = [f"v{i}" for i in range(164)]
    column = pa.chunked_array([np.repeat(names, 20)])
    before = answering(target)
    after = answering(np.where(np.arange(3280) < 11, 1, 0))
    held_out = HeldOut("classification", ("no", "yes"), {}, target, columns={"group": column})
    quality = Judge(held_out, before, "accuracy", "max", 0.05).quality(after)
    assert quality.drop < 0.005
    assert [part.value for part in quality.slices if part.sacrificed] == ["v0"]


def test_a_score_that_does_not_exist_on_these_rows_is_said() -> None:
    one_class = HeldOut("classification", ("no", "yes"), {}, np.zeros(50, dtype=np.int64))
    with pytest.raises(DataError, match="the score roc_auc does not exist on the 50 held-out rows"):
        Judge(one_class, answering(one_class.target), "roc_auc", "max", 0.01)
