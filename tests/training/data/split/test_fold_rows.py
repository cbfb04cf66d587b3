"""All folds at once: each row held out once, shares of classes kept, groups whole, time forward, too few refused."""

import numpy as np
import pyarrow as pa
import pytest

from training.data.config import DataConfig
from training.data.split.divide import Cut
from training.data.split.fold_rows import fold_rows
from training.data.table import infer_schema
from training.errors import DataError

NUM_ROWS = 60


def table() -> pa.Table:
    numbers = np.arange(NUM_ROWS)
    return pa.table({
        "x": numbers * 1.5, "day": numbers // 2, "patient": [f"p{i % 12}" for i in numbers],
        "label": np.where(numbers % 3 == 0, "rare", "common"), "amount": numbers ** 1.5,
    })  # fmt: skip


def folds(count: int, target: str = "label", pool: np.ndarray | None = None, **split: object) -> tuple[Cut, ...]:
    data = DataConfig.model_validate({"source": "t.csv", "target": target, "split": split})
    rows = table()
    return fold_rows(rows, infer_schema(rows, data), data, count, np.arange(NUM_ROWS) if pool is None else pool)


@pytest.mark.parametrize("split", [{}, {"kind": "group", "by": "patient"}, {"kind": "hash", "by": "x"}])
def test_each_row_of_the_pool_is_held_out_once_and_no_other_row_is_touched(split: dict[str, object]) -> None:
    pool = np.arange(5, NUM_ROWS - 7)
    found = folds(4, pool=pool, **split)
    assert sorted(np.concatenate([held for _, held in found]).tolist()) == pool.tolist()
    for kept, held in found:
        assert sorted([*kept, *held]) == pool.tolist()


def test_classes_keep_their_share_within_a_row() -> None:
    is_rare = np.arange(NUM_ROWS) % 3 == 0
    assert [int(is_rare[held].sum()) for _, held in folds(5)] == [4] * 5


def test_groups_stay_whole() -> None:
    for kept, held in folds(4, kind="group", by="patient"):
        assert not set(kept % 12) & set(held % 12)


def test_time_goes_forward_and_the_earliest_rows_are_held_out_by_no_fold() -> None:
    found = folds(4, kind="time", by="day")
    ends = [held.max() for _, held in found]
    assert ends == sorted(ends)
    assert all(kept.max() < held.min() for kept, held in found)
    assert min(held.min() for _, held in found) == NUM_ROWS // 5


def test_a_regression_is_spread_over_its_bins() -> None:
    """Rows rise with the amount, so a fold of many small ones has a low mean row."""
    spread, plain = (
        np.ptp([held.mean() for _, held in folds(5, target="amount", stratify=even)]) for even in (True, False)
    )
    assert spread <= 5 < plain


@pytest.mark.parametrize(
    ("count", "split", "said"),
    [
        (25, {}, r"too few rows of training and validation to stand in each of 25 folds: 'rare' \(20\)"),
        (31, {"stratify": False}, "60 rows of training and validation are too few for 31 folds"),
        (13, {"kind": "group", "by": "patient"}, "has 12 groups"),
        (40, {"kind": "time", "by": "day"}, "has 30 distinct times"),
        (30, {"kind": "hash", "by": "x"}, r"fold \d+ of 30 \(the first is 0\) would train on \d+ and hold out [01] "),
    ],
)
def test_more_folds_than_there_can_be_are_refused(count: int, split: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        folds(count, **split)
