"""Training rows that are held out too."""

import numpy as np
import pyarrow as pa
import pytest

from training.data.config import DataConfig
from training.data.overlap import part_hashes, settle_overlap
from training.data.table import Schema
from training.errors import DataError

TRAIN = pa.table({"id": [1, 2, 3, 4], "x": [1.0, 2.0, None, 2.0], "y": ["a", "b", "a", "a"]})
OTHER = pa.table({"y": ["B", "a", "b"], "x": [2.0, None, 1.0], "id": [7, 8, 9]})
DATA = DataConfig(source="s", target="y", ignore=("id",), rename_labels={"B": "b"})
SCHEMA = Schema({"x": "numeric"}, "y", "classification", ("a", "b"))


def hashes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def test_rows_are_compared_by_features_and_target_as_labels() -> None:
    train, other = part_hashes(TRAIN, SCHEMA, DATA), part_hashes(OTHER, SCHEMA, DATA)
    assert np.isin(train, other).tolist() == [False, True, True, False]


def test_a_note_says_how_many_stand_where() -> None:
    parts = {"validation": part_hashes(OTHER.slice(0, 1), SCHEMA, DATA), "test": part_hashes(OTHER, SCHEMA, DATA)}
    settled = settle_overlap(part_hashes(TRAIN, SCHEMA, DATA), parts, "note")
    assert settled.kept.tolist() == [0, 1, 2, 3]
    assert (settled.num_rows, settled.counts) == (2, {"validation": 1, "test": 2})
    assert settled.note == (
        "2 of 4 training rows are equal to rows that are held out (1 in validation, 2 in test), and are kept"
    )


def test_dropping_leaves_the_others_in_order() -> None:
    settled = settle_overlap(hashes(5, 6, 7, 6), {"test": hashes(6)}, "drop")
    assert settled.kept.tolist() == [0, 2]
    assert settled.note.endswith("(2 in test), and are left out of training")


def test_refusing_names_the_ways_out() -> None:
    with pytest.raises(DataError, match="1 of 2 training rows") as refused:
        settle_overlap(hashes(5, 6), {"test": hashes(6)}, "refuse")
    assert "data.checks.overlap: drop" in refused.value.hint
    with pytest.raises(DataError, match="nothing is left"):
        settle_overlap(hashes(5, 6), {"test": hashes(6, 5)}, "drop")


@pytest.mark.parametrize("policy", ["note", "drop", "refuse"])
def test_without_overlap_nothing_is_said(policy: str) -> None:
    settled = settle_overlap(hashes(5, 6), {"validation": hashes(), "test": hashes(7)}, policy)  # type: ignore[arg-type]
    assert (settled.kept.tolist(), settled.num_rows, settled.note) == ([0, 1], 0, "")
