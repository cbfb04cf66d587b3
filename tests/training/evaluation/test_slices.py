"""Slices: rows divided by any column, and marks that can be believed."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from tests.training.evaluation.test_weighted import made_up, scorer
from training.errors import DataError
from training.evaluation.bootstrap import estimates
from training.evaluation.slices import MAX_VALUES, Part, parts_of, slice_scores


def divided(column: pa.Array) -> dict[str, list[int]]:
    return {part.value: part.rows.tolist() for part in parts_of("c", pa.chunked_array([column]))}


def test_few_values_are_slices_of_their_own() -> None:
    assert divided(pa.array(["b", None, "a", "b"])) == {"b": [0, 3], "a": [2], "(missing)": [1]}
    assert divided(pa.array([1, 2, 1])) == {"1": [0, 2], "2": [1]}
    assert divided(pa.array([True, None, True])) == {"true": [0, 2], "(missing)": [1]}
    assert divided(pa.array(["x", "y", "x"]).dictionary_encode()) == {"x": [0, 2], "y": [1]}


def test_many_numbers_are_cut_at_their_quartiles() -> None:
    found = divided(pa.array([float("nan"), *map(float, range(100)), None]))
    assert list(found) == ["0 to 24", "25 to 49", "50 to 74", "75 to 99", "(missing)"]
    assert [len(rows) for rows in found.values()] == [25, 25, 25, 25, 2]
    assert list(divided(pa.array([0] * 90 + list(range(1, 21))))) == ["0", "1 to 20"]


def test_dates_are_cut_and_written_as_dates() -> None:
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=i) for i in range(40)]
    assert next(iter(divided(pa.array(days)))) == "2024-01-01 to 2024-01-10"
    times = [datetime.datetime(2024, 1, 1, i % 24) for i in range(40)]
    assert next(iter(divided(pa.array(times)))) == "2024-01-01 to 2024-01-01 04:00:00"


def test_rare_values_are_put_together() -> None:
    found = divided(pa.array([f"v{i:02d}" for i in range(30) for _ in range(2 if i < 5 else 1)]))
    assert len(found) == MAX_VALUES
    assert list(found)[-1] == "(others) 11 values"
    assert sum(map(len, found.values())) == 35


def test_values_that_are_not_single_are_refused() -> None:
    with pytest.raises(DataError, match="--by c: rows cannot be divided by values of type list"):
        divided(pa.array([[1, 2], [3]]))
    with pytest.raises(DataError, match="binary"):
        divided(pa.array([b"x"]))


def test_a_worse_slice_is_marked_and_small_ones_are_not_judged() -> None:
    probabilities, target = made_up(2000, 2)
    target[:400] = 1 - target[:400]  # the first fifth is answered wrongly
    whole = estimates(scorer(probabilities, target), 300)
    parts = [Part("c", "bad", np.arange(400)), Part("c", "good", np.arange(400, 2000)), Part("c", "few", np.arange(10))]
    bad, good, few = slice_scores(
        parts, whole, lambda rows: scorer(probabilities[rows], target[rows]), num_resamples=300
    )
    assert bad.differs["accuracy"] == bad.differs["log_loss"] == bad.differs["brier"] == "worse"
    assert good.differs["accuracy"] == "better"
    assert "accuracy" in bad.surely
    assert few.differs == {}
    assert few.scores["accuracy"].holds(0.0) is not None


def test_slices_that_do_not_differ_are_seldom_marked_for_sure() -> None:
    """100 slices at random: the interval alone marks some, the count of slices takes nearly all of them back."""
    rng = np.random.default_rng(3)
    probabilities, target = made_up(8000, 2)
    parts = [Part("c", str(i), rng.choice(8000, 100, replace=False)) for i in range(100)]
    whole = estimates(scorer(probabilities, target), 300)
    found = slice_scores(parts, whole, lambda rows: scorer(probabilities[rows], target[rows]), num_resamples=300)
    marked = [part for part in found if "accuracy" in part.differs]
    assert 1 <= len(marked) <= 20
    assert sum("accuracy" in part.surely for part in found) <= 2


def test_a_score_that_never_changes_marks_nothing() -> None:
    """No row of the class is there, so its F1 is 0 in every resample: that is no evidence."""
    probabilities, target = made_up(400, 2)
    whole = estimates(scorer(probabilities, target), 200)
    rows = np.flatnonzero(target == 0)
    (only,) = slice_scores(
        [Part("c", "x", rows)], whole, lambda r: scorer(probabilities[r], target[r]), num_resamples=200
    )
    assert only.scores["f1"].value == 0
    assert "f1" not in only.differs
