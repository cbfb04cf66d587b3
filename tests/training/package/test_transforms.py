"""Transforms as applied: what a client sends becomes what training saw."""

import numpy as np
import pyarrow as pa

from training.package.manifest import InputSpec
from training.package.transforms import (
    CategoricalTransform,
    FeatureEncoder,
    ImageTransform,
    NumericTransform,
    Transforms,
    inputs_from_table,
)

TABLE = Transforms(
    numeric=(NumericTransform(name="age", fill=30, mean=40, scale=10),),
    categorical=(CategoricalTransform(name="job", vocabulary=("clerk", "cook")),),
    missing_texts=("?", ""),
)


def text(*values: str | None) -> np.ndarray:
    return np.array(values, dtype=object)


def test_numbers_are_filled_and_scaled() -> None:
    tensors = FeatureEncoder(TABLE)({"age": np.array([40, 50, np.nan]), "job": text("cook", "cook", "cook")})
    assert tensors["numeric"].ravel().tolist() == [0, 1, -1]
    assert tensors["numeric"].dtype == np.float32


def test_every_spelling_of_a_missing_category_is_missing_and_spaces_do_not_matter() -> None:
    jobs = text("clerk", "cook", " cook ", None, "?", " ?", "", "pilot")
    tensors = FeatureEncoder(TABLE)({"age": np.zeros(len(jobs)), "job": jobs})
    assert tensors["categorical"].ravel().tolist() == [2, 3, 3, 0, 0, 0, 0, 1]


def test_an_absurd_number_is_clipped_and_stays_finite() -> None:
    tensors = FeatureEncoder(TABLE)({"age": np.array([3e38, -3e38]), "job": text("cook", "cook")})
    assert tensors["numeric"].ravel().tolist() == [20, -20]


def test_a_table_and_its_columns_give_the_same_tensors() -> None:
    specs = (
        InputSpec(name="age", kind="numeric", datatype="FP32"),
        InputSpec(name="job", kind="categorical", datatype="BYTES"),
    )
    rows = pa.table({"job": pa.array(["cook", None]).dictionary_encode(), "age": [None, 41], "more": [1, 2]})
    tensors = FeatureEncoder(TABLE)(inputs_from_table(rows, specs))
    assert tensors["numeric"].ravel().tolist() == [-1, np.float32(0.1)]
    assert tensors["categorical"].ravel().tolist() == [3, 0]


def test_pixels_of_a_table_become_an_image() -> None:
    image = Transforms(image=ImageTransform(name="image", shape=(1, 2, 2), mean=1, scale=2))
    spec = InputSpec(name="image", kind="image", datatype="FP32", shape=(1, 2, 2), columns=("a", "b", "c", "d"))
    rows = pa.table({"d": [7], "c": [5], "b": [3], "a": [1]})
    tensors = FeatureEncoder(image)(inputs_from_table(rows, (spec,)))
    assert tensors["image"].tolist() == [[[[0, 1], [2, 3]]]]
