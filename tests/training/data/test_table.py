"""Kinds, task and fitness of a table."""

import math

import pyarrow as pa
import pytest

from tests.kinds import png
from training.data.config import DataConfig
from training.data.table import infer_schema
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


def test_the_path_beside_an_image_is_no_feature_unless_it_is_declared_one() -> None:
    rows = table(image=[png(2, (4, 4))] * 6, path=[f"u/{i}.png" for i in range(6)])
    shape = {"image_shape": [3, 4, 4]}
    assert infer_schema(rows, config(**shape)).features == {"a": "numeric", "image": "image"}
    declared = infer_schema(rows, config(**shape, columns={"path": "categorical"})).features
    assert declared["path"] == "categorical"
    assert infer_schema(rows.drop(["image"]), config()).features["path"] == "categorical"


def test_whole_numbers_are_classes_when_few_and_sorted_as_numbers() -> None:
    assert infer_schema(table(y=[10, 2, 10, 2, 10, 2]), config()).labels == ("2", "10")
    many = pa.table({"a": range(40), "y": range(40)})
    assert infer_schema(many, config()).task == "regression"
    with pytest.raises(DataError, match="too few rows"):
        infer_schema(table(y=[0, 1, 2, 3, 4, 5]), config(task="classification"))


def test_a_target_with_nearly_a_class_a_row_is_no_classification() -> None:
    names = pa.table({"a": range(40), "y": [f"row {i // 2 * 2 if i < 10 else i}" for i in range(40)]})
    for data in (config(), config(split={"stratify": False})):
        with pytest.raises(DataError, match="35 classes in 40 rows: it looks like an amount or an id"):
            infer_schema(names, data)
    twice = pa.table({"a": range(60), "y": [f"class {i // 2}" for i in range(60)]})
    assert len(infer_schema(twice, config(split={"stratify": False})).labels) == 30


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        ({}, {"target": "z"}, "data.target names z"),
        ({}, {"ignore": ["q"]}, "data.ignore names q"),
        ({}, {"split": {"kind": "group", "by": "q"}}, "data.split.by names q"),
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
        ({"b": pa.array([0] * 6, pa.time32("s"))}, {}, "b: type time32.*a time of day"),
        ({"b": [b"x"] * 6}, {}, "b: type binary, but none of the first 100 values is an image"),
        ({"b": [png(i) for i in range(6)]}, {}, r"b: images need data.image_shape, .* such as \[3, 7, 9\]"),
        ({"b": [png(i) for i in range(6)]}, {"image_shape": [2, 8, 8]}, "has 2 channels, must have 1, 3 or 4"),
        ({"b": [png(i) for i in range(6)], "c": [png(0)] * 6}, {"image_shape": [3, 8, 8]}, "2 columns hold images"),
        ({"b": ["2024-01-01"] * 5 + ["1.2.2024"]}, {"columns": {"b": "date"}}, "b: row 5 .* is '1.2.2024', expected"),
        ({"b": [1] * 6}, {"columns": {"b": "date"}}, "b: declared date, but holds numbers such as '1'"),
        ({"b": [1] * 6}, {"columns": {"b": "image"}}, "b: declared image, but holds numbers"),
        ({"b": [[1.0]] * 6}, {"columns": {"b": "text"}}, "b: declared text, but holds arrays"),
        ({"b": pa.array([0] * 6, pa.date32())}, {"columns": {"b": "numeric"}}, "declared numeric, but holds dates"),
        ({}, {"positive_label": "w"}, "positive_label is 'w', must be one of two classes; .* 'u', 'v'"),
        ({"y": ["u", "v", "w"] * 2}, {"positive_label": "u", "split": {"stratify": False}}, "has 3: 'u', 'v', 'w'"),
        ({"y": [1.5, 2, 3, 4, 5, 6]}, {"positive_label": "u"}, "positive_label is 'u', but the target y is a number"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(columns: dict, settings: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        infer_schema(table(**columns), config(**settings))


def test_columns_of_dates_texts_and_images_are_told_apart() -> None:
    rows = table(
        day=pa.array([1, 2, 3, 4, 5, None], pa.date32()),
        at=pa.array([0] * 6, pa.timestamp("ms", "UTC")),
        written=["01.02.2024"] * 6,
        review=["so so"] * 6,
        photo=[{"bytes": png(i), "path": ""} for i in range(6)],
    )
    columns = {"written": {"kind": "date", "format": "%d.%m.%Y"}, "review": "text"}
    schema = infer_schema(rows, config(columns=columns, image_shape=[3, 4, 4]))
    assert schema.features == {
        "a": "numeric", "day": "date", "at": "date", "written": "date", "review": "text", "photo": "image",
    }  # fmt: skip
    arrays = table(pixels=[[1.0, 2, 3, 4]] * 6)
    assert infer_schema(arrays, config(image_shape=[1, 2, 2])).features["pixels"] == "image"


def test_the_positive_label_comes_last() -> None:
    assert infer_schema(table(), config()).labels == ("u", "v")
    assert infer_schema(table(), config(positive_label="u")).labels == ("v", "u")
    assert infer_schema(table(), config(positive_label="v")).labels == ("u", "v")


def many_values(num_rows: int, num_distinct: int) -> pa.Table:
    return pa.table({"id": [f"v{i % num_distinct}" for i in range(num_rows)], "y": ["u", "v"] * (num_rows // 2)})


def test_a_column_that_names_its_rows_is_refused_with_the_ways_out() -> None:
    """A million distinct values, as an id has."""
    rows = pa.table({"id": pa.array(range(1_000_000)).cast(pa.string()), "y": pa.array(["u", "v"] * 500_000)})
    with pytest.raises(DataError) as error:
        infer_schema(rows, config())
    assert "id: 1,000,000 distinct values in 1,000,000 rows, of which 990,000 would share" in error.value.message
    for way in ("data.ignore: [id]", "data.columns: {id: text}", "max_categories"):
        assert way in error.value.hint
    assert infer_schema(rows, config(columns={"id": "text"})).features == {"id": "text"}


def test_many_values_are_noted_where_some_rows_share_a_code() -> None:
    limit = {"features": {"categorical": {"max_categories": 60}}}
    assert infer_schema(many_values(200, 100), config()).notes == ()
    (note,) = infer_schema(many_values(200, 100), config(**limit)).notes
    assert note == "id: 100 distinct values; 80 of 200 rows share the code of unknown values (max_categories is 60)"
    with pytest.raises(DataError, match=r"of which 200 would share .*min_count is 3"):
        infer_schema(many_values(200, 100), config(features={"categorical": {"min_count": 3}}))


def test_all_bad_columns_are_named_at_once() -> None:
    with pytest.raises(DataError) as error:
        infer_schema(table(b=pa.nulls(6), c=[math.inf] * 6), config())
    assert "b: every value" in str(error.value)
    assert "c: 6 infinite" in str(error.value)
