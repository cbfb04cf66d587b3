"""By hash: a row keeps its part whatever else stands in the table."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.split.made import divide, each_fold, labels, part_of_each
from training.errors import DataError


def table_of(numbers: list[int], kind: str) -> pa.Table:
    columns = {"integer": pa.array(numbers), "text": pa.array([f"order {number}" for number in numbers])}
    column = columns["text"].dictionary_encode() if kind == "dictionary" else columns.get(kind, columns["integer"])
    classes = np.array(numbers) % 2
    return pa.table({"a": np.array(numbers) / 7, "id": column, "y": labels(classes)})


def part_of_each_id(table: pa.Table, numbers: list[int], **split: object) -> dict[int, str]:
    parts = part_of_each(divide(table, kind="hash", **split), table.num_rows)
    found = dict(zip(numbers, parts, strict=True))
    assert [found[number] for number in numbers] == parts, "equal ids are on two sides"
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(120, 300), st.integers(1, 300), st.sampled_from(["integer", "text", "dictionary", "content"]),
    st.integers(0, 99), st.booleans(),
)  # fmt: skip
def test_a_row_keeps_its_part_when_others_are_appended(
    num_rows: int, num_more: int, kind: str, seed: int, in_folds: bool
) -> None:
    draw = np.random.default_rng(seed)
    numbers = draw.integers(0, 2 * num_rows, num_rows).tolist()  # some stand twice
    more = draw.integers(0, 4 * num_rows, num_more).tolist()
    split: dict = {"seed": seed, "by": None if kind == "content" else "id"}
    if in_folds:
        split["folds"] = {"count": 3, "index": 1}
    before = part_of_each_id(table_of(numbers, kind), numbers, **split)
    longer = draw.permutation(numbers + more).tolist()
    after = part_of_each_id(table_of(longer, kind), longer, **split)
    assert {number: after[number] for number in before} == before


@pytest.mark.parametrize("part", ["validation", "test"])
def test_folds_partition_the_rows(part: str) -> None:
    table = table_of(list(range(3000)), "integer")
    splits = each_fold(table, 4, part, kind="hash", by="id")
    held = [split.parts[part] for split in splits] + ([splits[0].test] if part == "validation" else [])
    assert np.array_equal(np.sort(np.concatenate(held)), np.arange(3000))
    if part == "validation":
        assert all(np.array_equal(split.test, splits[0].test) for split in splits)
        assert np.array_equal(splits[0].test, divide(table, kind="hash", by="id").test)
    for split in splits:
        assert "unused" not in part_of_each(split, 3000)


def test_shares_are_met_as_by_chance_and_cuts_know_nothing_of_each_other() -> None:
    table = table_of(list(range(100_000)), "integer")
    split = divide(table, kind="hash", by="id", validation=0.25, test=0.1)
    assert len(split.test) / 1e5 == pytest.approx(0.1, abs=0.004)
    assert len(split.validation) / 1e5 == pytest.approx(0.25, abs=0.006)
    other = divide(table, kind="hash", by="id", validation=0.25, test=0.1, seed=1)
    assert len(np.intersect1d(split.test, other.test)) / len(split.test) == pytest.approx(0.1, abs=0.02)


def test_an_id_is_the_same_as_number_and_as_text() -> None:
    """A CSV file of numbers becomes one of texts with the first id that is no number."""
    kinds = [pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.large_string()]
    columns = [pa.array(range(500)).cast(kind) for kind in kinds]
    splits = [
        divide(pa.table({"a": range(500), "id": c, "y": labels([0] * 500)}), kind="hash", by="id") for c in columns
    ]
    assert all(np.array_equal(split.test, splits[0].test) for split in splits)


def test_a_renamed_column_of_ids_changes_nothing() -> None:
    table = table_of(list(range(500)), "text")
    renamed = table.rename_columns(["a", "order_id", "y"])
    before, after = divide(table, kind="hash", by="id"), divide(renamed, kind="hash", by="order_id")
    assert np.array_equal(before.test, after.test)


def test_rows_equal_in_every_column_stay_together() -> None:
    numbers = [*range(300), *range(300)]
    split = divide(table_of(numbers, "integer"), kind="hash")
    parts = part_of_each(split, 600)
    assert parts[:300] == parts[300:]


def test_too_few_rows_and_missing_ids_are_told() -> None:
    with pytest.raises(DataError, match=r"3 rows are too few to divide like this: [01] would be left for validation"):
        divide(table_of([1, 2, 3], "integer"), kind="hash", by="id")
    with pytest.raises(DataError, match="id: 1 of 4 rows have no row id, the first of them is row 2 "):
        divide(pa.table({"a": range(4), "id": ["u", "v", None, "w"], "y": labels([0] * 4)}), kind="hash", by="id")
