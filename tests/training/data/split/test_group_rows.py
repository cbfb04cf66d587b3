"""Whole groups: on one side only, and as near to the shares as they allow."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.split.made import divide, each_fold, labels, part_of_each
from training.data.config import SplitConfig
from training.data.split import columns_left_out
from training.errors import DataError

sizes = st.lists(st.integers(2, 30), min_size=10, max_size=60)


def table_of(group_sizes: list[int], num_classes: int, seed: int, kind: str = "integer") -> pa.Table:
    draw = np.random.default_rng(seed)
    groups = draw.permutation(np.repeat(np.arange(len(group_sizes)), group_sizes))
    column = pa.array(groups * 1000 - 7)
    if kind != "integer":
        column = pa.array([f"user {group}" for group in groups])
    if kind == "dictionary":
        column = column.dictionary_encode()
    half = len(groups) // 2
    user = pa.chunked_array([column.slice(0, half), column.slice(half)])
    return pa.table({"a": range(len(groups)), "user": user, "y": labels(draw.integers(0, num_classes, len(groups)))})


def assert_whole(table: pa.Table, parts: list[str]) -> None:
    seen = set(zip(table.column("user").to_pylist(), parts, strict=True))
    assert len(seen) == len(set(table.column("user").to_pylist()))


@settings(max_examples=80, deadline=None)
@given(sizes, st.integers(1, 4), st.integers(0, 99), st.sampled_from(["integer", "text", "dictionary"]), st.booleans())
def test_groups_stay_whole_and_shares_are_near(
    group_sizes: list[int], num_classes: int, seed: int, kind: str, stratify: bool
) -> None:
    """The stated tolerance: rows, and rows of each class, within those of two of the largest groups."""
    table = table_of(group_sizes, num_classes, seed, kind)
    split = divide(table, kind="group", by="user", seed=seed, stratify=stratify)
    parts = part_of_each(split, table.num_rows)
    assert "unused" not in parts
    assert_whole(table, parts)
    classes = np.array(table.column("y").to_pylist())
    for part, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        is_in = np.array(parts) == part
        assert abs(is_in.sum() - share * table.num_rows) <= 2 * max(group_sizes)
        for name in set(classes) if stratify else ():
            of_class = classes == name
            assert abs((is_in & of_class).sum() - share * of_class.sum()) <= 2 * max(group_sizes)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(2, 5), st.sampled_from(["validation", "test"]), st.integers(0, 99))
def test_folds_partition_the_groups(group_sizes: list[int], count: int, part: str, seed: int) -> None:
    table = table_of(group_sizes, 3, seed)
    splits = each_fold(table, count, part, kind="group", by="user", seed=seed)
    held = [split.parts[part] for split in splits]
    if part == "validation":
        assert all(np.array_equal(split.test, splits[0].test) for split in splits)
        assert np.array_equal(splits[0].test, divide(table, kind="group", by="user", seed=seed).test)
        held.append(splits[0].test)
    assert np.array_equal(np.sort(np.concatenate(held)), np.arange(table.num_rows))
    for split in splits:
        assert_whole(table, part_of_each(split, table.num_rows))


def test_many_groups_meet_their_shares_within_a_tenth_of_a_percent() -> None:
    """More groups than are weighed one by one, and a class that one row in a hundred is of."""
    draw = np.random.default_rng(1)
    users = np.repeat(np.arange(20_000), draw.integers(1, 10, 20_000))
    is_rare = draw.random(len(users)) < np.where(users % 10 == 0, 0.1, 0.0)
    table = pa.table({"a": range(len(users)), "user": users, "y": labels(is_rare.astype(int))})
    for split in [divide(table, kind="group", by="user"), *each_fold(table, 3, "test", kind="group", by="user")]:
        assert split.notes == ()
        assert not set(users[split.test]) & set(users[split.train])
        assert len(split.test) / len(users) == pytest.approx(0.15, abs=1e-3) or len(split.test) / len(
            users
        ) == pytest.approx(1 / 3, abs=1e-3)
        for places in split.parts.values():
            assert is_rare[places].mean() == pytest.approx(is_rare.mean(), rel=0.01)


def test_another_seed_is_another_division() -> None:
    table = table_of([5] * 40, 2, 0)
    first, second = (divide(table, kind="group", by="user", seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.test, second.test)


def test_a_group_of_half_the_rows_is_trained_on_and_told() -> None:
    table = table_of([100, *[5] * 6], 1, 0)
    split = divide(table, kind="group", by="user", test=0.3)
    largest = np.flatnonzero(table.column("user").to_numpy() == -7)
    assert set(largest) <= set(split.train)
    assert any("validation holds" in note and "groups stay whole" in note for note in split.notes)


@pytest.mark.parametrize(
    ("num_groups", "split", "said"),
    [
        (2, {}, "user has 2 groups in the 40 rows to divide, too few: groups stay whole, and 3 are needed"),
        (5, {"folds": {"count": 5}}, "has 5 groups .* 6 are needed"),
        (3, {"folds": {"count": 2, "part": "test"}}, "has 3 groups .* 4 are needed"),
    ],
)
def test_too_few_groups_says_how_many_there_are(num_groups: int, split: dict, said: str) -> None:
    table = table_of([40 // num_groups + 1] * num_groups, 1, 0).slice(0, 40)
    with pytest.raises(DataError, match=said):
        divide(table, kind="group", by="user", **split)


def test_as_many_groups_as_parts_are_enough() -> None:
    for groups, split in ((3, {}), (4, {"folds": {"count": 2, "part": "test"}}), (6, {"folds": {"count": 5}})):
        table = table_of([4] * groups, 1, 0)
        assert_whole(table, part_of_each(divide(table, kind="group", by="user", **split), table.num_rows))


@pytest.mark.parametrize("column", [[1.0, None, 3.0], ["a", None, "c"], [1.0, float("nan"), 3.0]])
def test_rows_without_a_group_are_refused_by_their_number_as_read(column: list) -> None:
    table = pa.table({"a": range(30), "user": column * 10, "y": labels([0, 1] * 15)})
    with pytest.raises(DataError, match=r"user: 10 of 30 rows have no group, the first of them is row 1 \(the first"):
        divide(table, kind="group", by="user")
    with pytest.raises(DataError, match="the first of them is row 101 "):
        divide(table, kind="group", by="user", rows=np.arange(30) + 100)
    in_dictionary = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0] * 10), pa.array(["u", None]))
    with pytest.raises(DataError, match="user: 10 of 30 rows have no group"):
        divide(table.set_column(1, "user", in_dictionary), kind="group", by="user")


def test_what_cannot_name_groups_is_refused() -> None:
    table = pa.table({"a": range(30), "user": [[1]] * 30, "y": labels([0, 1] * 15)})
    with pytest.raises(DataError, match="user is of type list<item: int64>, which cannot name groups"):
        divide(table, kind="group", by="user")
    with pytest.raises(DataError, match=r"names visitor, but table has no such column\nhint: columns: a, user, y"):
        divide(table, kind="group", by="visitor")


def test_groups_and_ids_are_no_features_and_times_are() -> None:
    left_out = {kind: columns_left_out(SplitConfig(kind=kind, by="c")) for kind in ("group", "hash", "time")}
    assert left_out == {"group": ("c",), "hash": ("c",), "time": ()}
    assert columns_left_out(SplitConfig(kind="hash")) == columns_left_out(SplitConfig()) == ()
