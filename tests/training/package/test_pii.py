"""Pseudonyms: the same for the same value and key, however Arrow holds the value."""

import hashlib
import hmac

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.package.errors import NoPiiKey
from training.package.pii import Pseudonymiser, is_pseudonym

KEY = b"0123456789abcdef"


def test_it_is_an_hmac_of_the_text() -> None:
    digest = hmac.new(KEY, "Ärger".encode(), hashlib.sha256).hexdigest()
    assert Pseudonymiser(KEY).text("Ärger") == f"pii:{digest[:32]}"


@given(st.lists(st.none() | st.text()))
def test_a_column_is_its_values_and_replays_unchanged(values: list[str | None]) -> None:
    hide = Pseudonymiser(KEY)
    column = hide.column(pa.array(values, pa.string()))
    assert column.to_pylist() == [hide.text(value) for value in values]
    assert hide.column(column).to_pylist() == column.to_pylist()
    assert all(value is None or is_pseudonym(value) for value in column.to_pylist())


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["7", "8", None]),
        pa.array([7, 8, None]),
        pa.array([7.0, 8.0, float("nan")]),
        pa.array([7, 8, None], pa.uint8()),
        pa.array(["7", "8", None], pa.large_string()),
        pa.array(["7", "8", None]).dictionary_encode(),
        pa.chunked_array([["7"], ["8", None]]),
        pa.array([b"7", b"8", None]),
    ],
)
def test_the_type_does_not_count(values: pa.Array) -> None:
    hide = Pseudonymiser(KEY)
    assert hide.column(values).to_pylist() == [hide.text("7"), hide.text("8"), None]


def test_fractions_and_huge_numbers_have_texts_too() -> None:
    column = Pseudonymiser(KEY).column(pa.array([0.5, float("inf"), 1e300, None]))
    assert len(set(column.to_pylist())) == 4


def test_another_key_gives_others_and_the_check_tells_them_apart() -> None:
    one, other = Pseudonymiser(KEY), Pseudonymiser(KEY[::-1])
    assert one.text("x") != other.text("x")
    assert one.key_check() == Pseudonymiser(KEY).key_check() != other.key_check()
    assert len(one.key_check()) == 8


def test_what_has_no_text_or_no_key() -> None:
    with pytest.raises(ValueError, match="a column of type list"):
        Pseudonymiser(KEY).column(pa.array([[1]]))
    with pytest.raises(NoPiiKey, match="at least 16"):
        Pseudonymiser(KEY[:-1])


def test_each_distinct_value_is_hashed_once() -> None:
    hashed = []

    class Counting(Pseudonymiser):
        def text(self, value: str | None) -> str | None:
            hashed.append(value)
            return super().text(value)

    values = np.random.default_rng(0).integers(0, 50, 100_000).astype(str)
    column = Counting(KEY).column(pa.chunked_array([values[:50_000], values[50_000:]]))
    assert len(set(column.to_pylist())) == len(hashed) == 50
