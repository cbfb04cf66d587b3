"""Small tables to divide, and the parts that came out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig
from training.data.split import Split, split_rows
from training.data.table import Schema


def data_config(split: Mapping[str, Any], **more: object) -> DataConfig:
    return DataConfig.model_validate({"source": "table", "target": "y", "split": dict(split), **more})


def schema_of(table: pa.Table) -> Schema:
    if pa.types.is_floating(table.schema.field("y").type):
        return Schema({"a": "numeric"}, "y", "regression", ())
    return Schema({"a": "numeric"}, "y", "classification", tuple(sorted(set(table.column("y").to_pylist()))))


def divide(table: pa.Table, num_test_rows: int | None = None, rows: np.ndarray | None = None, **split: object) -> Split:
    """Divide a table whose target is `y`; keywords are those of `data.split`."""
    return split_rows(table, schema_of(table), data_config(split), num_test_rows, rows)


def each_fold(table: pa.Table, count: int, part: str, num_test_rows: int | None = None, **split: object) -> list[Split]:
    """Every fold of one config."""
    folds = [{"count": count, "index": index, "part": part} for index in range(count)]
    return [divide(table, num_test_rows, folds=fold, **split) for fold in folds]


def labels(classes: Sequence[int]) -> pa.Array:
    """Texts of class numbers."""
    return pa.array([f"class {number}" for number in classes])


def part_of_each(split: Split, num_rows: int) -> list[str]:
    """The part of every row, `unused` where it is in none; a row in two parts is an error."""
    found = ["unused"] * num_rows
    for part, places in split.parts.items():
        assert np.array_equal(places, np.unique(places)), f"{part} is not rising"
        for place in places.tolist() if not (part == "test" and split.test_is_separate) else []:
            assert found[place] == "unused", f"row {place} is in {found[place]} and {part}"
            found[place] = part
    return found
