"""The reference: small, blind to personal data, and able to tell what moved from what did not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.package.drift import chance_index, population_stability_index, shift, shifts
from training.package.manifest import InputSpec
from training.package.reference import CategorySketch, NumberSketch, Reference, build_reference, sketch

AGE = InputSpec(name="age", kind="numeric", datatype="FP32")
CITY = InputSpec(name="city", kind="categorical", datatype="BYTES")


def texts(values: list[str | None]) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def people(num_rows: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, num_rows).astype(np.float32)
    age[rng.random(num_rows) < 0.1] = np.nan
    return {"age": age, "city": texts(rng.choice(["Rome", "Oslo", "Lima"], num_rows, p=[0.6, 0.3, 0.1]).tolist())}


def reference_of(rows: Mapping[str, Any], **more: Any) -> Reference:
    return build_reference([rows], (AGE, CITY), **more)


def test_a_sketch_holds_shares_of_its_own_rows() -> None:
    rows = people()
    age, city = reference_of(rows).inputs
    assert isinstance(age, NumberSketch)
    assert isinstance(city, CategorySketch)
    assert age.missing == pytest.approx(np.isnan(rows["age"]).mean())
    assert len(age.shares) == len(age.edges) + 1 == 20
    assert sum(age.shares) == pytest.approx(1)
    assert max(age.shares) < 0.06
    assert city.categories == ("Rome", "Oslo", "Lima")
    np.testing.assert_allclose(age.counts, age.count(rows["age"].astype(float)))
    np.testing.assert_allclose(city.counts, city.count(pa.array(rows["city"], pa.string())))


def test_it_is_the_same_however_the_rows_come() -> None:
    rows = people()
    parts = [{name: values[i : i + 300] for name, values in rows.items()} for i in range(0, 2000, 300)]
    in_arrow = [part | {"city": pa.array(part["city"], pa.string()).dictionary_encode()} for part in parts]
    whole = reference_of(rows)
    assert build_reference(parts, (AGE, CITY)) == whole
    assert build_reference(in_arrow, (AGE, CITY)) == whole
    assert Reference.model_validate_json(whole.model_dump_json()) == whole


def test_nothing_of_personal_data_is_in_it() -> None:
    rows = {"age": np.array([71234.5, 71234.5, 3.0, np.nan], np.float32), "city": texts(["pii:secret"] * 3 + [None])}
    found = reference_of(rows, hidden=["age", "city"], target=("city", rows["city"]))
    written = found.model_dump_json()
    assert "secret" not in written
    assert "71234" not in written
    age = found.inputs[0]
    assert isinstance(age, CategorySketch)
    assert (age.hidden, age.categories, age.missing) == (True, (), 0.25)
    assert age.shares == pytest.approx((2 / 3,))


def test_a_column_of_names_is_not_named() -> None:
    """One row each: such categories tell of persons and of no distribution."""
    found = sketch("name", "value", pa.array([f"person {i}" for i in range(100)]))
    assert isinstance(found, CategorySketch)
    assert (found.categories, found.rest) == ((), 1.0)


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    """Or a share that moves from 0 to 1 would stay in one bin."""
    found = sketch("flag", "value", np.array([0.0] * 70 + [1.0] * 30))
    assert found.count(np.array([0.0, 1.0, 1.0])).tolist() == [0, 1, 2]
    assert shift(found, np.array([0.0] * 30 + [1.0] * 70)).verdict == "much"


def test_images_texts_dates_and_empty_columns() -> None:
    image = InputSpec(name="image", kind="image", datatype="FP32", shape=(3, 4, 4))
    note = InputSpec(name="note", kind="categorical", datatype="BYTES").model_copy(update={"kind": "text"})
    seen = InputSpec(name="seen", kind="numeric", datatype="FP32").model_copy(update={"kind": "date"})
    rows = {
        "image": np.random.default_rng(0).integers(0, 255, (5, 3, 4, 4)).astype(np.uint8),
        "note": texts(["two words", None, "one", "", "now three words"]),
        "seen": np.array(["2024-01-01", "NaT", "2024-01-03", "2024-01-04", "2024-01-05"], "datetime64[us]"),
        "age": np.full(5, np.nan, np.float32),
    }
    found = build_reference([rows], (image, note, seen, AGE))
    measured = [(each.input, each.measure) for each in found.inputs]
    assert measured[0] == ("image", "mean of channel 0")
    assert measured[5] == ("image", "deviation of channel 2")
    assert measured[6:] == [("note", "tokens"), ("seen", "value"), ("age", "value")]
    tokens, dates, nothing = (each for each in found.inputs[6:] if isinstance(each, NumberSketch))
    assert (tokens.minimum, tokens.maximum) == (0, 3)
    assert tokens.missing == pytest.approx(0.2)
    assert dates.minimum == 1704067200
    assert nothing.missing == 1
    assert shift(nothing, np.array([1.0, 2.0])).missing_now == 0


def test_scores_are_sketched_as_they_are_answered() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], np.float32)
    found = reference_of(people(), scores=scores, labels=("no", "yes"), threshold=0.3).scores
    label, probability = found
    assert isinstance(label, CategorySketch)
    assert label.categories[0] == "yes"
    assert label.shares[0] == pytest.approx(2 / 3)
    assert probability.measure == "probability of yes"


def test_what_moved_stands_first_and_says_how() -> None:
    later = people(seed=1)
    later["age"] = np.where(np.arange(2000) % 2 == 0, np.nan, later["age"]).astype(np.float32)
    later["city"] = texts(["Atlantis" if i % 10 == 0 else city for i, city in enumerate(later["city"])])
    city_specs = {"city": ("Rome", "Oslo", "Lima")}
    found = shifts(reference_of(people()), (AGE, CITY), later, city_specs)
    assert [moved.input for moved in found] == ["age", "city"]
    age, city = found
    assert (age.verdict, city.verdict) == ("much", "much")
    assert age.missing_now == pytest.approx(0.55, abs=0.05)
    assert city.new_categories == ("Atlantis",)
    assert city.new == pytest.approx(0.1)


def test_what_did_not_move_is_told_from_chance() -> None:
    """95 in 100 pairs of equal columns stay below the chance index; with small tables it is what matters."""
    before = reference_of(people()).inputs[0]
    later = [shift(before, people(200, seed)["age"].astype(float)) for seed in range(1, 201)]
    assert 0.9 <= np.mean([moved.index <= moved.chance for moved in later]) <= 0.99
    assert np.mean([moved.index > 0.1 for moved in later]) > 0.5, "without chance, most would count as moved"
    assert sum(bool(moved.verdict) for moved in later) < 20


def test_categories_that_may_be_among_the_rest_are_not_called_new() -> None:
    many = pa.array([f"c{i}" for i in range(60) for _ in range(2)])
    found = sketch("c", "value", many)
    assert shift(found, pa.array(["c59", "new"])).new == 0
    assert shift(found, pa.array(["c59", "new"]), known=[f"c{i}" for i in range(60)]).new_categories == ("new",)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.lists(st.integers(0, 50), min_size=8, max_size=8))
def test_the_index_is_symmetric_finite_and_0_for_equals(left: list[int], right: list[int]) -> None:
    p, q = np.array(left, float), np.array(right[: len(left)], float)
    if not (p.sum() and q.sum()):
        with pytest.raises(ValueError, match="empty"):
            population_stability_index(p, q)
        return
    index = population_stability_index(p, q)
    assert np.isfinite(index)
    assert index >= 0
    assert index == pytest.approx(population_stability_index(q, p))
    assert population_stability_index(p, p) == 0


def test_the_index_of_a_known_case() -> None:
    """(0.5 - 0.2) ln(0.5 / 0.2) + (0.5 - 0.8) ln(0.5 / 0.8)"""
    assert population_stability_index(np.array([50.0, 50.0]), np.array([20.0, 80.0])) == pytest.approx(0.41588830833)
    with pytest.raises(ValueError, match="bins"):
        population_stability_index(np.ones(2), np.ones(3))
    assert chance_index(1, 10, 10) == 0
    assert chance_index(11, 1000, 1000) == pytest.approx(18.307 * 2 / 1000, rel=1e-3)
