"""Kinds, task and fitness of a table."""

import math

import pyarrow as pa
import pytest

from training.data.config import DataConfig
from training.data.table import fingerprint, infer_schema
from training.errors import DataError


def config(**more: object) -> DataConfig:
    return DataConfig.model_validate({"source": "table", "target": "y", **more})


def table(**columns: object) -> pa.Table:
    return pa.table({"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "y": ["u", "v"] * 3} | columns)


def test_kinds_are_inferred_and_can_be_declared() -> None:
    rows = table(n=[1, 2, 3, 4, 5, 6], flag=[True, False] * 3, text=["p"] * 6)
    schema = infer_schema(rows, config(columns={"n": "categorical"}, ignore=["a"]))
    assert schema.features == {"n": "categorical", "flag": "numeric", "text": "categorical"}
    assert (schema.task, schema.labels) == ("classification", ("u", "v"))


def test_whole_numbers_are_classes_when_few_and_sorted_as_numbers() -> None:
    assert infer_schema(table(y=[10, 2, 10, 2, 10, 2]), config()).labels == ("2", "10")
    many = pa.table({"a": range(40), "y": range(40)})
    assert infer_schema(many, config()).task == "regression"
    with pytest.raises(DataError, match="too few rows"):
        infer_schema(many, config(task="classification"))


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        ({}, {"target": "z"}, "data.target names z"),
        ({}, {"ignore": ["q"]}, "data.ignore names q"),
        ({}, {"ignore": ["a"]}, "no column is left"),
        ({"y": ["u"] * 6}, {}, "one class only"),
        ({"y": ["u"] * 5 + ["v"]}, {}, r"'v' \(1\)"),
        ({"y": ["u"] * 5 + [None]}, {}, "missing in 1 of 6 rows, the first is row 5"),
        ({"y": [1.5, math.nan, 2, 3, 4, 5]}, {}, "NaN or infinite in 1 of 6 rows, the first is row 1"),
        ({"y": [1.5, 2, math.inf, 3, 4, 5]}, {}, "NaN or infinite in 1 of 6"),
        ({"y": [1.5] * 6}, {}, "1.5 in every row"),
        ({"b": pa.nulls(6)}, {}, "b: every value is missing"),
        ({"b": [math.nan] * 6}, {}, "b: every value is NaN"),
        ({"b": [1.0, 2, 3, 4, 5, math.inf]}, {}, "b: 1 infinite"),
        ({"b": [[1]] * 6}, {}, "b: type list"),
        ({"b": ["x"] * 6}, {"columns": {"b": "numeric"}}, "declared numeric, but holds text such as 'x'"),
        ({}, {"task": "regression"}, "data.task is regression, but"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(columns: dict, settings: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        infer_schema(table(**columns), config(**settings))


def test_all_bad_columns_are_named_at_once() -> None:
    with pytest.raises(DataError) as error:
        infer_schema(table(b=pa.nulls(6), c=[math.inf] * 6), config())
    assert "b: every value" in str(error.value)
    assert "c: 6 infinite" in str(error.value)


def test_fingerprint_follows_the_values_not_the_chunks() -> None:
    rows = table()
    in_chunks = pa.concat_tables([rows.slice(0, 2), rows.slice(2)])
    assert fingerprint([rows]) == fingerprint([in_chunks])
    assert fingerprint([rows]) != fingerprint([table(a=[1.0, 2, 3, 4, 5, 7])])
    assert fingerprint([rows]) != fingerprint([rows.rename_columns(["b", "y"])])
