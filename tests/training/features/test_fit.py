"""Fitting: what each setting does to the training rows, and what cannot be fitted on."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.kinds import config, png, table
from training.data.config import DataConfig
from training.data.table import infer_schema
from training.errors import DataError
from training.features import fit_transforms
from training.package.manifest import InputSpec
from training.package.transforms import FeatureEncoder, Transforms, encoder_inputs

RNG = np.random.default_rng(0)
AMOUNTS = RNG.lognormal(3, 2, 4000)


def fit(column: Any, kind: str = "numeric", **settings: Any) -> tuple[Transforms, InputSpec, dict[str, np.ndarray]]:
    """Transforms of one column, and what they make of its training rows."""
    values = pa.array(column)
    rows = pa.table({"x": values, "y": ["u", "v"] * (len(values) // 2)})
    data = DataConfig.model_validate(
        {"source": "t", "target": "y", "columns": {"x": {"kind": kind, **settings}}, "split": {"stratify": False}}
    )
    transforms, (spec,) = fit_transforms(rows, infer_schema(rows, data), data)
    return transforms, spec, FeatureEncoder(transforms)(encoder_inputs(rows, (spec,)))


def test_standard_and_none() -> None:
    heights = RNG.normal(170, 10, 4000)
    _, spec, tensors = fit(heights)
    assert abs(tensors["numeric"].mean()) < 1e-4
    assert tensors["numeric"].std() == pytest.approx(1, abs=1e-4)
    assert (spec.minimum, spec.maximum) == pytest.approx((heights.min(), heights.max()), rel=1e-6)
    _, _, tensors = fit([1.0, 2.0, 3.0, 4.0], scale="none")
    assert tensors["numeric"].ravel().tolist() == [1, 2, 3, 4]


def test_robust_is_centred_and_as_wide_as_a_normal_of_the_same_quartiles() -> None:
    transforms, _, _ = fit(RNG.normal(50, 7, 4000), scale="robust")
    assert transforms.numeric[0].scale == pytest.approx(7, rel=0.05)
    assert transforms.numeric[0].mean == pytest.approx(50, rel=0.01)
    mostly_zero = np.where(np.arange(100) % 10, 0.0, 5.0)
    assert fit(mostly_zero, scale="robust")[0].numeric[0].scale == pytest.approx(mostly_zero.std())


def test_quantile_makes_any_distribution_normal_and_keeps_its_order() -> None:
    transforms, _, tensors = fit(AMOUNTS, scale="quantile")
    normal = tensors["numeric"].ravel()
    assert len(transforms.numeric[0].knots) == 1000
    assert abs(normal.mean()) < 0.01
    assert normal.std() == pytest.approx(1, abs=0.02)
    assert (np.diff(normal[np.argsort(AMOUNTS, kind="stable")]) >= 0).all()
    beyond = FeatureEncoder(transforms)({"x": np.array([-1e30, 1e30])})["numeric"].ravel()
    assert beyond.tolist() == [normal.min(), normal.max()]
    _, _, tensors = fit([0.0] * 60 + [1.0] * 40, scale="quantile")
    assert len(set(tensors["numeric"].ravel().tolist())) == 2
    assert tensors["numeric"][0] == pytest.approx(-0.524, abs=1e-3)  # the middle of the ranks 0 to 0.6


def test_log_and_clip() -> None:
    transforms, _, tensors = fit(AMOUNTS, log=True, clip=(0.01, 0.99))
    low, high = np.quantile(AMOUNTS.astype(np.float32), [0.01, 0.99])
    assert transforms.numeric[0].clip == pytest.approx((low, high), rel=1e-5)
    expected = np.log1p(np.clip(AMOUNTS, low, high))
    np.testing.assert_allclose(tensors["numeric"].ravel(), (expected - expected.mean()) / expected.std(), atol=1e-4)
    assert fit([-10.0, 10.0] * 5, log=True)[2]["numeric"][:2].ravel().tolist() == pytest.approx([-1, 1])


@pytest.mark.parametrize(("fill", "expected"), [("median", 3.0), ("mean", 13 / 3), (-7.5, -7.5)])
def test_missing_numbers_are_filled_and_told(fill: Any, expected: float) -> None:
    transforms, _, tensors = fit([1.0, None, 3.0, math.nan, 9.0, None], fill=fill, indicator=True)
    filled = np.array([1, expected, 3, expected, 9, expected])
    assert transforms.numeric[0].fill == pytest.approx(expected)
    np.testing.assert_allclose(tensors["numeric"][:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-5, atol=1e-6)
    assert tensors["numeric"][:, 1].tolist() == [0, 1, 0, 1, 0, 1]


def test_categories_by_count_and_limit() -> None:
    column = ["a"] * 5 + ["b"] * 5 + ["c"] * 3 + ["d"] + [None] * 2
    transforms, spec, tensors = fit(column, "categorical", min_count=2)
    assert transforms.categorical[0].vocabulary == spec.categories == ("a", "b", "c")
    assert tensors["categorical"].ravel().tolist() == [2] * 5 + [3] * 5 + [4] * 3 + [1] + [0] * 2
    transforms, _, tensors = fit(column, "categorical", encode="one_hot", max_categories=2, fill="c")
    assert transforms.categorical[0].vocabulary == ("a", "b")  # c has five rows too, and comes later by name
    assert transforms.numeric_inputs == ("x other", "x=a", "x=b")
    assert tensors["numeric"].sum(axis=1).tolist() == [1] * 16
    assert tensors["numeric"][:, 0].tolist() == [0] * 10 + [1] * 6


def test_a_filled_category_that_no_row_has_gets_a_code() -> None:
    transforms, _, tensors = fit(["a", None, "a", None, None, "b"], "categorical", fill="none given")
    assert transforms.categorical[0].vocabulary == ("none given", "a", "b")
    assert tensors["categorical"].ravel().tolist() == [3, 2, 3, 2, 2, 4]


def test_dates_are_filled_with_the_median_of_each_part_and_idle_parts_left_out() -> None:
    days = np.array(["2020-01-05", "2021-03-06", "NaT", "2024-03-07"], "datetime64[us]")
    transforms, _, tensors = fit(days, "date", cyclic=False)
    names = dict(zip(transforms.numeric_inputs, tensors["numeric"].T.tolist(), strict=True))
    assert list(names) == ["x year", "x month", "x weekday", "x missing"]  # every hour is 0
    assert names["x missing"] == [0, 0, 1, 0]
    (year, *_) = transforms.dates[0].parts
    assert (year.fill, year.mean) == (2021, pytest.approx((2020 + 2021 + 2021 + 2024) / 4))
    assert names["x year"][2] == names["x year"][1]


def test_vocabulary_of_tokens_is_of_those_that_are_read() -> None:
    column = ["Good good food", "good bad food", "", None, "bad bad bad bad", "??"]
    transforms, _, tensors = fit(column, "text", tokens="vocabulary", num_tokens=8, max_tokens=2)
    assert transforms.texts[0].vocabulary == ("bad", "good")
    assert tensors["tokens"][:, 0].tolist() == [[3, 3], [3, 2], [0, 0], [0, 0], [2, 2], [0, 0]]


def test_images_have_mean_0_and_deviation_1() -> None:
    rows = table()
    transforms, specs = fit_transforms(rows, infer_schema(rows, config()), config())
    image = FeatureEncoder(transforms)(encoder_inputs(rows, specs))["image"]
    assert image.shape == (rows.num_rows, 3, 6, 5)
    assert abs(image.mean()) < 1e-4
    assert image.std() == pytest.approx(1, abs=1e-4)
    (spec,) = [spec for spec in specs if spec.kind == "image"]
    assert (spec.datatype, spec.shape, spec.is_file) == ("BYTES", (3, 6, 5), True)


def test_no_row_but_the_given_ones_moves_a_transform() -> None:
    rows = table()
    schema = infer_schema(rows, config())
    few = fit_transforms(rows.slice(0, 30), schema, config())
    again = fit_transforms(pa.concat_tables([rows.slice(0, 10), rows.slice(10, 20)]), schema, config())
    assert few == again
    assert few != fit_transforms(rows, schema, config())


def test_columns_of_personal_data_are_remembered_under_every_name() -> None:
    rows = pa.table({"who": ["a", "b"] * 3, "home": ["c", "d"] * 3, "n": [1.0, 2.0] * 3, "y": ["u", "v"] * 3})
    join = {"source": "t", "on": {"home": "address"}}
    data = DataConfig.model_validate(
        {"source": "t", "target": "y", "pii": {"name": "hash", "address": "hash", "n": "drop"},
         "rename": {"name": "who"}, "join": [join]}
    )  # fmt: skip
    transforms, _ = fit_transforms(rows, infer_schema(rows, data), data, hash_key_check="abc")
    assert (transforms.hashed, transforms.hash_key_check) == (("who", "home"), "abc")
    plain = DataConfig(source="t", target="y")
    assert fit_transforms(rows, infer_schema(rows, plain), plain, "abc")[0].hash_key_check == ""


@pytest.mark.parametrize(
    ("column", "settings", "said"),
    [
        ([None, None, 3.0], {}, "every value in the training part is missing"),
        ([1.0, 2.0, 3.0], {"fill": math.inf}, "not a number that float32 can hold"),
        ([None, None, "2024-01-01"], {"kind": "date"}, "every date in the training part is missing"),
        ([None, "", "a b"], {"kind": "text"}, "no text is there in the training part"),
        (["?", "!", "a b"], {"kind": "text", "tokens": "vocabulary"}, "no text has a word"),
    ],
)
def test_a_training_part_without_values_is_refused(column: list[Any], settings: dict[str, Any], said: str) -> None:
    """The last row is not of the training part."""
    rows = pa.table({"x": column, "y": ["u", "v", "u"]})
    data = DataConfig.model_validate(
        {"source": "t", "target": "y", "columns": {"x": {"kind": "numeric", **settings}}, "split": {"stratify": False}}
    )
    with pytest.raises(DataError, match=f"x.*{said}"):
        fit_transforms(rows.slice(0, 2), infer_schema(rows, data), data)


def test_a_broken_image_is_named() -> None:
    rows = pa.table({"i": [png(0), png(1), b"no image", png(2)], "y": ["u", "v"] * 2})
    data = DataConfig(source="t", target="y", image_shape=(3, 4, 4), split={"stratify": False})
    with pytest.raises(DataError, match=r"i: training row 2 \(the first is 0\) is not an image"):
        fit_transforms(rows, infer_schema(rows, data), data)
