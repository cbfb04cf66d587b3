"""Counting texts: in parts, in any encoding, and bounded."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import counts as module
from training.data.counts import Counts

TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", " b ", "?", "ä", "zz"]), max_size=20)


@given(TEXTS, TEXTS)
def test_parts_in_any_encoding_count_like_the_whole(first: list[str | None], second: list[str | None]) -> None:
    known = Counter(text.strip() for text in first + second if text is not None and text != "?")
    expected = tuple(sorted(known, key=lambda text: (-known[text], text)))
    one, other = (pa.chunked_array([part], pa.string()) for part in (first, second))
    chunks = pa.chunked_array([first, second], pa.string())
    in_forms = [
        Counts.of(one, ("?",)).merge(Counts.of(other, ("?",))),
        Counts.of(chunks, ("?",)),
        Counts.of(chunks.dictionary_encode(), ("?",)),
        Counts.of(chunks.cast(pa.large_string()), ("?",)),
    ]
    for counts in in_forms:
        assert counts.most_frequent(100) == (expected, known.total())
        assert (counts.num_texts, counts.num_missing) == (known.total(), len(first + second) - known.total())
        assert counts.most_frequent(2, min_count=2)[0] == tuple(text for text in expected if known[text] > 1)[:2]


def test_beyond_the_bound_the_rarer_half_is_let_go_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED", 10)
    common = pa.chunked_array([["a", "b", "c"] * 5])
    rare = pa.chunked_array([[f"r{i}" for i in range(9)]])
    counts = Counts.of(common).merge(Counts.of(rare))
    assert counts.most_frequent(3) == (("a", "b", "c"), 15)
    assert counts.table.num_rows == 5
    assert counts.num_let_go == 7
