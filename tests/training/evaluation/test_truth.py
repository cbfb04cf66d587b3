"""What is true, in the model's own classes, or why it cannot be said."""

import pyarrow as pa
import pytest

from training.errors import DataError
from training.evaluation.truth import truth_of

LABELS = ("no", "yes")


def test_classes_become_ids_and_rows_without_one_are_counted() -> None:
    found = truth_of(pa.table({"y": ["yes", None, "NO.", "no"]}), "y", LABELS, {"NO.": "no"})
    assert found.rows.tolist() == [0, 2, 3]
    assert found.target_M.tolist() == [1, 0, 0]
    assert found.num_missing == 1


@pytest.mark.parametrize("column", [[0, 1, None], [0.0, 1.0, float("nan")], ["0", "1", None]])
def test_numbers_that_name_classes_are_understood_however_they_are_stored(column: list[object]) -> None:
    found = truth_of(pa.table({"y": column}), "y", ("0", "1"), {})
    assert (found.target_M.tolist(), found.num_missing) == ([0, 1], 1)
    assert truth_of(pa.table({"y": [True]}), "y", ("false", "true"), {}).target_M.tolist() == [1]


def test_classes_that_a_dictionary_holds_and_no_row_has_do_not_count() -> None:
    column = pa.chunked_array([pa.array(["maybe", "yes", "no"]).dictionary_encode()]).slice(1)
    assert truth_of(pa.table({"y": column}), "y", LABELS, {}).target_M.tolist() == [1, 0]


def test_numbers_are_kept() -> None:
    found = truth_of(pa.table({"y": pa.array([1, None, 3], pa.int32())}), "y", (), {})
    assert (found.target_M.tolist(), found.rows.tolist()) == ([1.0, 3.0], [0, 2])


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        (
            ["yes", "maybe", "maybe", "never"],
            LABELS,
            r"does not know: 'maybe' \(2 rows\), 'never' \(1 rows\); it knows",
        ),
        ([None, None], LABELS, "missing in all 2 rows"),
        (["tall"], (), "predicts a number, but the target y holds string such as 'tall'"),
        ([1.0, float("inf")], (), r"infinite in row 1 \(the first is 0\)"),
    ],
)
def test_what_cannot_be_scored_is_said(values: list[object], labels: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        truth_of(pa.table({"y": pa.array(values, None if values[0] else pa.string())}), "y", labels, {})


def test_a_target_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(DataError, match="no column income") as refused:
        truth_of(pa.table({"incom": ["yes"]}), "income", LABELS, {})
    assert "nearest: incom; columns: incom" in refused.value.hint
