"""Transforms as applied: what a client sends becomes what training saw."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.package.errors import NoPiiKey, PackageError
from training.package.manifest import InputSpec
from training.package.pii import Pseudonymiser
from training.package.transforms import (
    BLOCK_ROWS,
    MISSING_CODE,
    CategoricalTransform,
    DatePartTransform,
    DateTransform,
    FeatureEncoder,
    ImageTransform,
    NumericTransform,
    TextTransform,
    Transforms,
    encoder_inputs,
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
    for read in (inputs_from_table, encoder_inputs):
        tensors = FeatureEncoder(TABLE)(read(rows, specs))
        assert tensors["numeric"].ravel().tolist() == [-1, np.float32(0.1)]
        assert tensors["categorical"].ravel().tolist() == [3, 0]


def test_pixels_of_a_table_become_an_image() -> None:
    image = Transforms(image=ImageTransform(name="image", shape=(1, 2, 2), mean=1, scale=2))
    spec = InputSpec(name="image", kind="image", datatype="FP32", shape=(1, 2, 2), columns=("a", "b", "c", "d"))
    rows = pa.table({"d": [7], "c": [5], "b": [3], "a": [1]})
    tensors = FeatureEncoder(image)(inputs_from_table(rows, (spec,)))
    assert tensors["image"].tolist() == [[[[0, 1], [2, 3]]]]


EVERYTHING = Transforms(
    numeric=(
        NumericTransform(name="plain", fill=1, mean=2, scale=3, indicator=True),
        NumericTransform(name="bent", fill=0, mean=1, scale=2, clip=(-5, 1e6), log=True),
        NumericTransform(name="ranked", fill=0, mean=0, scale=1, knots=(-1, 0, 2), deviates=(-2, 0, 2), indicator=True),
        NumericTransform(name="free", fill=3, mean=0, scale=1, bounds=(-1000, 1000)),
    ),
    categorical=(
        CategoricalTransform(name="job", vocabulary=("clerk", "cook")),
        CategoricalTransform(name="size", vocabulary=("s", "m"), encode="one_hot", rest=(MISSING_CODE,)),
        CategoricalTransform(name="filled", vocabulary=("x", "y"), fill="y"),
    ),
    dates=(
        DateTransform(
            name="when",
            parts=(
                DatePartTransform(part="year", fill=2000, mean=2000, scale=10),
                DatePartTransform(part="month", fill=1, cyclic=True),
                DatePartTransform(part="timestamp", fill=0, scale=1e9),
            ),
        ),
    ),
    texts=(
        TextTransform(name="title", tokens="hashing", num_tokens=50, max_tokens=2),
        TextTransform(name="review", tokens="vocabulary", num_tokens=2, max_tokens=4, vocabulary=("good", "bad")),
    ),
    image=ImageTransform(name="photo", shape=(1, 2, 2), mean=128, scale=64),
    missing_texts=("?", ""),
)
NUMBERS = st.floats(width=32) | st.sampled_from([math.nan, 3.4e38, -3.4e38, 0.0, -0.0, 1e-45])
TEXTS = st.none() | st.sampled_from(["clerk", " cook ", "s", "m", "y", "?", " ", "Good, bad!", "naïve ﬁne"]) | st.text()
DATES = st.none() | st.datetimes()


def rows_of(data: st.DataObject, num_rows: int) -> dict[str, Any]:
    """Any raw values at all."""

    def column(values: st.SearchStrategy) -> list[Any]:
        return data.draw(st.lists(values, min_size=num_rows, max_size=num_rows))

    numbers = {name: np.array(column(NUMBERS), np.float32) for name in ("plain", "bent", "ranked", "free")}
    texts = {name: text(*column(TEXTS)) for name in ("job", "size", "filled", "title", "review")}
    pixels = np.array([column(NUMBERS.filter(np.isfinite)) for _ in range(4)], np.float32).T.reshape(-1, 1, 2, 2)
    return numbers | texts | {"when": np.array(column(DATES), "datetime64[us]"), "photo": pixels}


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_row_gives_finite_tensors_and_the_same_alone_as_among_many(data: st.DataObject) -> None:
    rows, encoder = rows_of(data, 5), FeatureEncoder(EVERYTHING)
    many = encoder(rows)
    assert list(many) == ["image", "numeric", "categorical", "tokens"]
    assert many["numeric"].shape == (5, EVERYTHING.num_numeric)
    assert all(np.isfinite(tensor).all() for tensor in many.values())
    assert np.abs(np.delete(many["numeric"], 3, axis=1)).max() <= 20.001  # all but the unscaled column
    for row in range(5):
        alone = encoder({name: values[row : row + 1] for name, values in rows.items()})
        for name, tensor in alone.items():
            assert np.array_equal(tensor, many[name][row : row + 1]), name


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_arrow_and_objects_give_the_same_tensors(data: st.DataObject) -> None:
    rows, encoder = rows_of(data, 4), FeatureEncoder(EVERYTHING)
    expected = encoder(rows)
    for form in ("plain", "dictionary", "chunks"):
        arrow = dict(rows)
        for name in ("job", "size", "filled", "title", "review"):
            values = pa.array(rows[name].tolist(), pa.string())
            chunks = pa.chunked_array([values[:1], values[1:1], values[1:]])
            arrow[name] = {"plain": values, "dictionary": values.dictionary_encode(), "chunks": chunks}[form]
        for name, tensor in encoder(arrow).items():
            assert np.array_equal(tensor, expected[name]), (name, form)


def test_blocks_leave_no_seam() -> None:
    numbers = np.random.default_rng(0).normal(size=2 * BLOCK_ROWS + 5).astype(np.float32)
    transforms = Transforms(numeric=(EVERYTHING.numeric[1],))
    whole = FeatureEncoder(transforms)({"bent": numbers})["numeric"]
    parts = [FeatureEncoder(transforms)({"bent": part})["numeric"] for part in np.array_split(numbers, 3)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_what_each_numeric_input_is() -> None:
    rows = {
        "plain": np.array([math.nan, 5]), "bent": np.array([-9, math.e - 1]), "ranked": np.array([1, math.nan]),
        "free": np.array([50, 5000]), "job": text("cook", None), "size": text("m", "xxl"),
        "filled": text(None, "zzz"), "title": text(None, "?"), "review": text("GOOD news", "bad"),
        "when": np.array(["1990-07-01", "NaT"], "datetime64[us]"), "photo": np.full((2, 1, 2, 2), 128, np.uint8),
    }  # fmt: skip
    tensors = FeatureEncoder(EVERYTHING)(rows)
    first, second = (dict(zip(EVERYTHING.numeric_inputs, row, strict=True)) for row in tensors["numeric"].tolist())
    assert (first["plain"], first["plain missing"], second["plain"]) == (np.float32(-1 / 3), 1, 1)
    assert first["bent"] == np.float32((-np.log1p(5) - 1) / 2)  # clipped to -5 before
    assert (first["ranked"], second["ranked"], second["ranked missing"]) == (1, 0, 1)
    assert (first["free"], second["free"]) == (50, 1000)
    assert (first["size=m"], first["size=s"], first["size missing"]) == (1, 0, 0)
    assert (second["size=m"], second["size=s"], second["size missing"]) == (0, 0, 0)  # never seen: nothing
    assert (first["when year"], first["when missing"], second["when missing"]) == (-1, 0, 1)
    assert (second["when year"], second["when month sine"], second["when month cosine"]) == (0, 0, 1)
    assert abs(first["when month cosine"] + 1) < 1e-6  # July is opposite to January
    assert tensors["categorical"].tolist() == [[3, 3], [0, 1]]
    assert tensors["tokens"][:, 1].tolist() == [[2, 1, 0, 0], [3, 0, 0, 0]]
    assert not tensors["tokens"][:, 0].any()


def test_hashed_tokens_are_the_same_in_every_process() -> None:
    column = TextTransform(name="t", tokens="hashing", num_tokens=1000, max_tokens=4)
    encoder = FeatureEncoder(Transforms(texts=(column,)))
    tokens = encoder({"t": text("Hello, ＨＥＬＬＯ café cafe\u0301!")})["tokens"][0, 0].tolist()
    assert tokens == [871, 871, 638, 638]
    assert column.num_codes == 1001


KEY, OTHER_KEY = b"a key of sixteen b", b"another of sixteen"
HASHED = TABLE.model_copy(
    update={
        "hashed": ("job",),
        "hash_key_check": Pseudonymiser(KEY).key_check(),
        "categorical": (CategoricalTransform(name="job", vocabulary=(str(Pseudonymiser(KEY).text("cook")),)),),
    }
)


@pytest.mark.parametrize("as_arrow", [False, True])
def test_raw_personal_data_is_looked_up_by_its_pseudonym(as_arrow: bool) -> None:
    pseudonym = Pseudonymiser(KEY).text("cook")
    jobs = text("cook", " cook ", pseudonym, "pilot", None, "?")
    rows = {"age": np.zeros(len(jobs)), "job": pa.array(jobs.tolist()) if as_arrow else jobs}
    codes = FeatureEncoder(HASHED, Pseudonymiser(KEY))(rows)["categorical"].ravel().tolist()
    assert codes == [2, 2, 2, 1, 0, 0]


def test_without_the_key_pseudonyms_are_understood_and_raw_values_refused() -> None:
    encoder = FeatureEncoder(HASHED)
    known = text(Pseudonymiser(KEY).text("cook"), None, "?")
    assert encoder({"age": np.zeros(3), "job": known})["categorical"].ravel().tolist() == [2, 0, 0]
    with pytest.raises(NoPiiKey, match="'job' is personal data") as error:
        encoder({"age": np.zeros(1), "job": text("cook")})
    assert "cook" not in str(error.value)
    assert "MANTA_PII_KEY" in error.value.hint


def test_another_key_is_refused_at_once() -> None:
    with pytest.raises(PackageError, match="another than in training"):
        FeatureEncoder(HASHED, Pseudonymiser(OTHER_KEY))
