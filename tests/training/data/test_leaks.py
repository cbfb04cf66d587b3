"""Columns that give away the target are found; strong, honest ones and names of rows are not."""

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from training.data.config import DataConfig
from training.data.leaks import MIN_ROWS, Leak, find_leaks, settle_leaks
from training.data.sources import read_table
from training.data.table import infer_schema
from training.errors import DataError

NUM_ROWS = 3000


def leaks_of(table: pa.Table, **more: Any) -> list[Leak]:
    data = DataConfig.model_validate({"source": "s", "target": "y"} | more)
    return find_leaks(table, infer_schema(table, data), data)


def names_of(table: pa.Table, **more: Any) -> list[str]:
    return [leak.column for leak in leaks_of(table, **more)]


@pytest.fixture(scope="module")
def classes() -> pa.Table:
    """A rare class, and features that tell of it more or less."""
    random = np.random.default_rng(1)
    y = random.random(NUM_ROWS) < 0.05
    day = datetime.datetime(2024, 1, 1)
    return pa.table(
        {
            "noise": random.normal(size=NUM_ROWS),
            "strong": y + random.normal(size=NUM_ROWS) / 4,
            "amount": y * 1e9 + random.random(NUM_ROWS),
            "code": np.where(y, np.where(random.random(NUM_ROWS) < 0.5, "late", "never"), "paid"),
            "often": np.where(random.random(NUM_ROWS) < 0.1, "late", np.where(y, "late", "paid")),
            "name": [f"{'risky' if bad else 'safe'}-{i}" for i, bad in enumerate(y)],
            "huge": np.where(y, 1e38, 1.0),
            "filled": pa.array([1.0 if bad else None for bad in y]),
            "when": pa.array([day + datetime.timedelta(days=400 * int(bad), hours=i % 99) for i, bad in enumerate(y)]),
            "y": np.where(y, "bad", "good"),
        }
    )


def test_columns_written_from_the_classes_are_found(classes: pa.Table) -> None:
    assert names_of(classes) == ["amount", "code", "huge", "filled", "when"]


def test_a_copy_is_called_one(classes: pa.Table) -> None:
    (leak,) = leaks_of(classes.select(["noise", "y"]).append_column("again", classes["y"].dictionary_encode()))
    assert leak == Leak("again", 1.0, "balanced accuracy", is_copy=True)


def test_rows_in_the_order_of_the_classes_do_not_make_their_names_a_leak(classes: pa.Table) -> None:
    """Coded in order of appearance, neighbouring names would share a class; numbers of rows then do give it away."""
    ordered = classes.sort_by("y").select(["name", "y"]).append_column("row", pa.array(np.arange(NUM_ROWS)))
    assert names_of(ordered, columns={"name": "categorical"}, checks={"leak_score": 0.99}) == ["row"]


def test_a_regression_is_given_away_by_any_function_of_it() -> None:
    random = np.random.default_rng(2)
    for y in (random.normal(size=NUM_ROWS), random.lognormal(0, 2, NUM_ROWS)):
        table = pa.table(
            {
                "inches": y * 2.54 + 3,
                "logarithm": np.sign(y) * np.log1p(np.abs(y)),
                "rounded": np.round(y),
                "noisy": y + y.std() * random.normal(size=NUM_ROWS) / 5,
                "city": [f"c{i}" for i in random.integers(0, 50, NUM_ROWS)],
                "y": y,
            }
        )
        found = leaks_of(table)
        assert [leak.column for leak in found] == ["inches", "logarithm"]
        assert {leak.metric for leak in found} == {"R2"}


def test_the_score_that_counts_can_be_set(classes: pa.Table) -> None:
    weaker = names_of(classes, checks={"leak_score": 0.8})
    assert weaker == ["strong", "amount", "code", "often", "huge", "filled", "when"]


def test_many_classes_are_judged(classes: pa.Table) -> None:
    numbers = np.random.default_rng(3).integers(0, 200, NUM_ROWS)
    table = pa.table({"x": numbers * 7, "noise": classes["noise"], "y": [f"k{i}" for i in numbers]})
    assert names_of(table) == ["x"]


def test_few_rows_and_pixels_are_not_judged() -> None:
    y = np.arange(MIN_ROWS) % 2
    table = pa.table({"a": y, "b": y, "c": y, "d": y, "y": y.astype(str)})
    assert names_of(table) == ["a", "b", "c", "d"]
    assert names_of(table.slice(1)) == []
    assert names_of(table, image_shape=[1, 2, 2]) == []


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_bundled_sets_have_none(name: str) -> None:
    data = DataConfig(source=f"sklearn:{name}", target="target")
    table = read_table(data)
    assert find_leaks(table, infer_schema(table, data), data) == []


def test_leaks_are_refused_with_their_scores_or_noted() -> None:
    leaks = [Leak("a", 1.0, "R2", is_copy=True), Leak("b", 0.99912, "R2", is_copy=False)]
    with pytest.raises(DataError) as refused:
        settle_leaks(leaks, "refuse")
    assert refused.value.message.splitlines() == [
        "single columns give away the target",
        "  a is equal to the target",
        "  b alone predicts it with a R2 of 0.9991 on rows not fitted on",
    ]
    assert "data.ignore: [a, b]" in refused.value.hint
    assert "data.checks.leaks: note" in refused.value.hint
    assert settle_leaks(leaks, "note")[0].startswith("a is equal to the target: ")
    assert settle_leaks([], "refuse") == ()
