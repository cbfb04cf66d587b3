"""By time: the future is held out, and rows of one time stay together."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.split.made import divide, each_fold, labels, part_of_each
from training.errors import DataError

# Every time stands twice at least: a latest time of a single row would be too small a part.
times = st.lists(st.integers(-40, 40), min_size=10, max_size=100).filter(lambda values: len(set(values)) >= 8)


def table_of(values: list, kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"a": range(len(values)), "day": pa.array(values, kind), "y": labels([0] * len(values))})


def spans(values: list, parts: list[str]) -> dict[str, tuple]:
    """First and last time of each part."""
    of_part = {part: [value for value, own in zip(values, parts, strict=True) if own == part] for part in set(parts)}
    return {part: (min(found), max(found)) for part, found in of_part.items()}


@settings(max_examples=80, deadline=None)
@given(times, st.booleans())
def test_later_parts_are_later(values: list[int], separate: bool) -> None:
    values = [*values, *values[::-1]]
    split = divide(table_of(values, pa.date32()), 3 if separate else None, kind="time", by="day")
    parts = part_of_each(split, len(values))
    span = spans(values, parts)
    assert span["train"][1] < span["validation"][0]
    if not separate:
        assert span["validation"][1] < span["test"][0]
    assert "unused" not in parts


@settings(max_examples=80, deadline=None)
@given(st.permutations(range(80)), st.integers(2, 5), st.sampled_from(["validation", "test"]), st.integers(1, 3))
def test_folds_train_on_the_past_alone(order: list[int], count: int, part: str, of_one_time: int) -> None:
    values = [value // of_one_time for value in order]
    splits = each_fold(table_of(values), count, part, kind="time", by="day")
    held = np.concatenate([split.parts[part] for split in splits])
    assert len(held) == len(set(held.tolist()))
    before = -1
    for split in splits:
        parts = part_of_each(split, len(values))
        span = spans(values, parts)
        assert span["train"][1] < span["validation"][0]
        assert before < span[part][0]
        before = span[part][1]
        assert "unused" not in span or span["unused"][0] > span[part][1]
        assert any("earliest rows are held out by no fold" in note for note in split.notes)
    if part == "validation":
        assert all(np.array_equal(split.test, splits[0].test) for split in splits)
    else:
        assert before == max(values)


def test_folds_are_those_of_scikit_learn_where_no_times_are_equal() -> None:
    from sklearn.model_selection import TimeSeriesSplit

    splits = each_fold(table_of(list(range(103))), 4, "validation", num_test_rows=5, kind="time", by="day")
    for ours, (train, held) in zip(splits, TimeSeriesSplit(4).split(np.arange(103)), strict=True):
        assert np.array_equal(ours.train, train)
        assert np.array_equal(ours.validation, held)


@pytest.mark.parametrize(
    "kind", [pa.date32(), pa.date64(), pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.int16(), pa.float32()]
)
def test_every_type_of_time_is_understood(kind: pa.DataType) -> None:
    days = pa.array(np.random.default_rng(0).permutation(100), pa.int32())
    column = days.cast(pa.date32()).cast(kind) if pa.types.is_temporal(kind) else days.cast(kind)
    for by in (column, column.dictionary_encode()):
        split = divide(pa.table({"a": range(100), "day": by, "y": labels([0] * 100)}), kind="time", by="day")
        assert sorted(days.take(pa.array(split.test)).to_pylist()) == list(range(85, 100))
        assert sorted(days.take(pa.array(split.validation)).to_pylist()) == list(range(70, 85))


def test_text_is_refused_with_the_way_to_dates() -> None:
    with pytest.raises(DataError, match=r"day holds text such as '3\.1\.2024'") as error:
        divide(table_of(["3.1.2024", "20.12.2023"] * 10), kind="time", by="day")
    assert "data.cast: {day: date}" in error.value.hint
    with pytest.raises(DataError, match="day is of type bool, neither dates nor numbers"):
        divide(table_of([True, False] * 10), kind="time", by="day")


def test_rows_without_a_time_are_refused() -> None:
    with pytest.raises(DataError, match="day: 2 of 20 rows have no time, the first of them is row 3 "):
        divide(table_of([date(2024, 1, 1 + i) if i not in (3, 9) else None for i in range(20)]), kind="time", by="day")


def test_too_few_times_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match=r"day has 2 distinct times in the 20 rows to divide, too few: .* 3 parts"):
        divide(table_of([1, 2] * 10), kind="time", by="day")
    with pytest.raises(DataError, match=r"day has 4 distinct times in the .* 5 parts"):
        divide(table_of([1, 2, 3, 4] * 10), 5, kind="time", by="day", folds={"count": 4})


def test_the_border_is_the_nearest_change_of_time() -> None:
    crowded = [*range(70), *[70] * 18, *range(71, 83)]  # a share of 0.15 begins at row 85; times change at 70 and 88
    assert divide(table_of(crowded), kind="time", by="day").test.tolist() == list(range(88, 100))


def test_a_crowded_last_day_is_told() -> None:
    split = divide(table_of([*range(60), *[99] * 40]), kind="time", by="day")
    assert split.test.tolist() == list(range(60, 100))
    assert any("test holds 40.0% of the 100 rows, 15.0% were asked: rows of one time stay" in n for n in split.notes)


def test_classes_that_are_new_in_time_are_told() -> None:
    table = pa.table({"a": range(100), "day": range(100), "y": labels([0] * 80 + [1] * 20)})
    assert "train holds no row of the classes 'class 1' of y" in divide(table, kind="time", by="day").notes
