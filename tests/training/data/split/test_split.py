"""The stored split, and configs that ask for what cannot be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tests.training.data.split.made import data_config, divide, labels


def table_of(num_rows: int) -> pa.Table:
    return pa.table({"a": range(num_rows), "y": labels([0, 1] * (num_rows // 2))})


def test_the_file_holds_every_row_by_its_number_as_read(tmp_path: Path) -> None:
    """Rows 3 and 7 were bad and are not in the table that was divided."""
    as_read = np.delete(np.arange(52), [3, 7])
    split = divide(table_of(50))
    split.save(tmp_path / "split.parquet", as_read)
    stored = pq.read_table(tmp_path / "split.parquet")
    assert sorted(stored.column("row").to_pylist()) == as_read.tolist()
    for part, places in split.parts.items():
        of_part = stored.filter(pa.compute.field("part") == part)
        assert of_part.column("row").to_pylist() == as_read[places].tolist()
    assert set(stored.column("source").to_pylist()) == {"main"}


def test_a_separate_test_source_is_numbered_by_itself(tmp_path: Path) -> None:
    split = divide(table_of(50), num_test_rows=7)
    split.save(tmp_path / "split.parquet", None, test_rows=np.arange(7) + 10)
    stored = pq.read_table(tmp_path / "split.parquet")
    other = stored.filter(pa.compute.field("source") == "test")
    assert other.column("row").to_pylist() == list(range(10, 17))
    assert set(other.column("part").to_pylist()) == {"test"}
    assert sorted(stored.filter(pa.compute.field("source") == "main").column("row").to_pylist()) == list(range(50))


@pytest.mark.parametrize(
    ("split", "more", "said"),
    [
        ({"folds": {"count": 3, "part": "test"}}, {"test": "b.csv"}, "data.test names a source of its own"),
        ({"folds": {"count": 2, "part": "test"}, "validation": 0.5}, {}, "validation must stay below 0.5"),
        ({"validation": 0.6, "test": 0.4}, {}, "leave no training rows"),
        ({"kind": "group"}, {}, "needs `by`, the column of groups"),
        ({"by": "user"}, {}, "by=user is not used by kind=random"),
        ({"kind": "hash", "by": "y"}, {}, "split.by=y is the target"),
        ({"kind": "group", "by": "user"}, {"pii": {"user": "drop"}}, "split.by=user is dropped by data.pii"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(split: dict, more: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        data_config(split, **more)


def test_a_config_may_ask_for_folds_with_shares_that_they_do_not_use() -> None:
    assert data_config({"folds": {"count": 5}, "validation": 0.9}).split.folds.count == 5
