"""A share of every part: representative, nested, and never another part."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.split.made import data_config, divide, labels, schema_of
from training.data.split import sample_split, sampled, strata_of


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(3, 80), min_size=1, max_size=5).filter(lambda counts: sum(counts) > 12),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), st.integers(0, 99),
)  # fmt: skip
def test_samples_are_nested_and_keep_the_classes(counts: list[int], shares: tuple[float, float], seed: int) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    table = pa.table({"a": range(len(classes)), "y": labels(classes)})
    split, ids = divide(table, seed=seed), classes
    smaller, larger = (sample_split(split, ids, share, seed) for share in sorted(shares))
    for part, rows in split.parts.items():
        assert set(smaller.parts[part]) <= set(larger.parts[part]) <= set(rows)
        assert np.array_equal(larger.parts[part], np.unique(larger.parts[part]))
        whole = np.bincount(ids[rows], minlength=len(counts))
        kept = np.bincount(ids[larger.parts[part]], minlength=len(counts))
        wanted = np.minimum(np.maximum(whole * max(shares), 2), whole)
        assert np.all(np.abs(kept - wanted) <= 0.5)


def test_the_config_asks_for_it() -> None:
    table = pa.table({"a": range(1000), "y": labels([0, 0, 0, 1] * 250)})
    held_out = pa.table({"a": range(40), "y": labels([0, 1] * 20)})
    data, schema = data_config({}, sample=0.1), schema_of(table)
    split = divide(table, num_test_rows=40)
    small = sampled(split, table, held_out, schema, data)
    assert [len(rows) for rows in small.parts.values()] == [85, 15, 4]
    assert small.notes == ("data.sample 0.1 works with 85 of 850 train, 15 of 150 validation, 4 of 40 test rows",)
    assert sampled(split, table, held_out, schema, data_config({})) is split


def test_a_regression_keeps_its_bins() -> None:
    values = np.random.default_rng(0).lognormal(size=4000)
    table = pa.table({"a": range(4000), "y": values})
    data = data_config({}, sample=0.1)
    small = sampled(divide(table), table, None, schema_of(table), data)
    strata = strata_of(table, schema_of(table), data)
    assert strata.counts(small.train).tolist() == [28] * 10
