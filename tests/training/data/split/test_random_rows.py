"""Single rows by chance: every row in one part, every class in every part, shares as asked."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from tests.training.data.split.made import data_config, divide, each_fold, labels, part_of_each, schema_of
from training.data.split import strata_of
from training.data.split.strata import bin_strata
from training.errors import DataError

class_counts = st.lists(st.integers(3, 60), min_size=1, max_size=5).filter(lambda counts: sum(counts) >= 12)


def table_of(counts: list[int], seed: int) -> pa.Table:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return pa.table({"a": np.arange(len(classes)), "y": labels(classes)})


@settings(max_examples=100, deadline=None)
@given(class_counts, st.integers(0, 2**40), st.booleans())
def test_parts_cover_and_classes_keep_their_share(counts: list[int], seed: int, separate: bool) -> None:
    table = table_of(counts, seed)
    split = divide(table, 7 if separate else None, seed=seed)
    parts = part_of_each(split, table.num_rows)
    assert set(parts) == {"train", "validation"} | (set() if separate else {"test"})
    ids = strata_of(table, schema_of(table), data_config({})).ids
    whole, held = np.arange(table.num_rows), split.validation
    if not separate:
        assert_share(ids, whole, split.test, 0.15)
        whole = np.setdiff1d(whole, split.test)
    assert_share(ids, whole, held, 0.15 if separate else 0.15 / 0.85)
    again = divide(table, 7 if separate else None, seed=seed)
    assert all(np.array_equal(again.parts[part], split.parts[part]) for part in split.parts)


def assert_share(ids: np.ndarray, whole: np.ndarray, held: np.ndarray, share: float) -> None:
    """Each class of what is held out is within one row of its share, and on both sides."""
    in_whole = np.bincount(ids[whole])
    in_held = np.bincount(ids[held], minlength=len(in_whole))
    num_held = max(round(len(whole) * share), len(in_whole), 2)
    assert np.all(np.abs(in_held - in_whole * num_held / len(whole)) <= 1)
    assert in_held.min() >= 1
    assert (in_whole - in_held).min() >= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(20, 200), min_size=1, max_size=6), st.integers(0, 2**32 - 2))
@example([56, 55, 38, 49, 58, 57], 0)  # scikit-learn rounds a whole number down here, and draws once more
def test_rows_are_those_of_scikit_learn(counts: list[int], seed: int) -> None:
    """What the figures of earlier runs rest on, and what anybody can repeat without us."""
    table = table_of(counts, seed)
    num_rows, texts = table.num_rows, np.array(table.column("y").to_pylist())
    rest, test = train_test_split(
        np.arange(num_rows), test_size=round(num_rows * 0.15), random_state=seed, stratify=texts
    )
    rest = np.sort(rest)
    train, validation = train_test_split(
        rest, test_size=round(len(rest) * 0.15 / 0.85), random_state=seed + 1, stratify=texts[rest]
    )
    split = divide(table, seed=seed)
    for ours, theirs in zip(split.parts.values(), (train, validation, test), strict=True):
        assert np.array_equal(ours, np.sort(theirs))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(18, 50), min_size=1, max_size=4), st.integers(2, 7), st.sampled_from(["validation", "test"]),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_folds_partition_the_rows_and_keep_the_shares(
    counts: list[int], count: int, part: str, stratify: bool, seed: int
) -> None:
    table = table_of(counts, seed)
    splits = each_fold(table, count, part, stratify=stratify, seed=seed)
    held = [split.parts[part] for split in splits]
    if part == "validation":
        assert all(np.array_equal(split.test, splits[0].test) for split in splits)
        held.append(splits[0].test)
        unfolded = divide(table, stratify=stratify, seed=seed)
        assert stratify is False or np.array_equal(unfolded.test, splits[0].test)
    assert np.array_equal(np.sort(np.concatenate(held)), np.arange(table.num_rows))
    for split in splits:
        assert "unused" not in part_of_each(split, table.num_rows)
    if stratify:
        ids = strata_of(table, schema_of(table), data_config({})).ids
        in_folds = np.array([np.bincount(ids[rows], minlength=len(counts)) for rows in held[:count]])
        assert np.all(in_folds.max(axis=0) - in_folds.min(axis=0) <= 1)


def test_a_rare_class_stands_in_every_part_and_fold() -> None:
    table = pa.table({"a": range(1000), "y": labels([1, 1, 1, 1, 1, 1] + [0] * 994)})
    for split in [divide(table), *each_fold(table, 5, "validation"), *each_fold(table, 3, "test")]:
        for places in split.parts.values():
            assert 0 < np.sum(places < 6) < 6


def test_without_stratify_a_class_that_a_part_lacks_is_told() -> None:
    table = pa.table({"a": range(1000), "y": labels([1] + [0] * 999)})
    notes = divide(table, stratify=False).notes
    assert len(notes) == 2
    assert all("holds no row of the classes 'class 1' of y" in note for note in notes)


def test_regression_bins_keep_their_share() -> None:
    values = np.random.default_rng(0).lognormal(size=2000)
    table = pa.table({"a": range(2000), "y": values})
    bins = np.digitize(values, np.quantile(values, np.arange(1, 10) / 10))
    split = divide(table)
    for places in split.parts.values():
        shares = np.bincount(bins[places]) / len(places)
        assert np.abs(shares - 0.1).max() <= 1.5 / len(places)
    unstratified = np.bincount(bins[divide(table, stratify=False).test]) / 300
    assert np.abs(unstratified - 0.1).max() > 0.01


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5, -3.0, 7.0]), min_size=1, max_size=80), st.integers(1, 9))
def test_equal_values_share_a_bin_and_no_bin_is_too_small(values: list[float], min_count: int) -> None:
    strata = bin_strata(np.array(values), num_bins=5, min_count=min_count)
    if strata is None:
        return
    assert np.bincount(strata.ids, minlength=len(strata.names)).min() >= min_count
    for value in set(values):
        assert len(set(strata.ids[np.array(values) == value])) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(7, 60), st.integers(2, 6), st.sampled_from(["validation", "test"]))
def test_small_regressions_are_divided_too(num_rows: int, count: int, part: str) -> None:
    table = pa.table({"a": range(num_rows), "y": np.arange(num_rows) ** 1.5})
    part_of_each(divide(table), num_rows)
    if num_rows >= 4 * count:
        for split in each_fold(table, count, part):
            part_of_each(split, num_rows)


@pytest.mark.parametrize("kind", ["text", "dictionary", "integer", "boolean", "decimal"])
def test_classes_of_every_type_are_kept_in_proportion(kind: str) -> None:
    numbers = pa.array([0, 0, 0, 1] * 100)
    types = {
        "text": pa.string(), "integer": pa.int8(), "boolean": pa.bool_(), "decimal": pa.decimal128(20, 1),
    }  # fmt: skip
    column = numbers.cast(pa.string()).dictionary_encode() if kind == "dictionary" else numbers.cast(types[kind])
    in_chunks = pa.chunked_array([column.slice(0, 150), column.slice(150)])
    split = divide(pa.table({"a": range(400), "y": in_chunks}))
    assert [np.mean(places % 4 == 3) for places in split.parts.values()] == [0.25, 0.25, 0.25]


def test_labels_that_are_read_as_one_are_one_class() -> None:
    table = pa.table({"a": range(40), "y": ["no", "no.", "yes", "yes."] * 10})
    renamed = data_config({}, rename_labels={"no.": "no", "yes.": "yes"})
    assert strata_of(table, schema_of(table), renamed).names == ("no", "yes")


@pytest.mark.parametrize(
    ("counts", "split", "said"),
    [
        ([3], {"stratify": False}, "3 rows are too few to divide: 2 at least for each part that is held out"),
        ([1, 1, 1], {}, "3 rows are too few to divide: 3 at least"),
        ([50, 2], {}, r"'class 1' \(2\); 3 rows are needed"),
        (
            [50, 4],
            {"folds": {"count": 5}},
            r"every part and fold of 5 of the split: 'class 1' \(4\); 6 rows are needed",
        ),
        ([50, 3], {"folds": {"count": 2, "part": "test"}}, r"'class 1' \(3\); 4 rows are needed"),
        ([100], {"validation": 0.98, "test": 0.01}, "98 rows are too few to divide: 97 held out leave 1 to train on"),
        ([9], {"folds": {"count": 7}, "stratify": False}, "9 rows are too few .* 1 would be left for validation"),
    ],
)
def test_too_few_rows_is_said(counts: list[int], split: dict, said: str) -> None:
    table = table_of(counts, 0)
    if "validation" in split:
        table = pa.table({"a": range(100), "y": labels([0, 1] * 50)})
    with pytest.raises(DataError, match=said):
        divide(table, **split)
