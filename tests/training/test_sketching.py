"""The reference as a package gets it: from raw rows and the variant that is served."""

import numpy as np
import pyarrow as pa
import pytest

from tests.packages import TABLE_INPUTS, TABLE_TRANSFORMS
from training.config import Experiment
from training.data.reference_rows import MAX_ROWS, drawn, reference_rows
from training.package.reference import CategorySketch, NumberSketch
from training.sketching import ROWS_AT_A_TIME, package_reference

NUM_ROWS = ROWS_AT_A_TIME + 500  # more than are read at a time


def rows(seed: int, num_rows: int = NUM_ROWS) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "age": rng.normal(40, 10, num_rows),
            "hours": rng.normal(40, 10, num_rows),
            "city": rng.choice(["Rome", "Oslo"], num_rows),
            "rich": rng.choice(["Yes", "no"], num_rows),
        }
    )


def test_inputs_target_and_answers_are_sketched() -> None:
    data = {"source": "x.csv", "target": "rich", "rename_labels": {"Yes": "yes"}, "pii": {"city": "hash"}}
    answers = np.random.default_rng(1).dirichlet([1, 1], 50).astype(np.float32)
    found = package_reference(
        rows(0), answers, experiment=Experiment.model_validate({"name": "adult", "data": data}),
        task="classification", labels=("no", "yes"), inputs=TABLE_INPUTS, hashed=TABLE_TRANSFORMS.hashed,
    )  # fmt: skip
    assert found.num_rows == NUM_ROWS
    age, _, city = found.inputs
    assert isinstance(age, NumberSketch)
    assert isinstance(city, CategorySketch)
    assert age.num_rows == city.num_rows == NUM_ROWS
    assert (city.hidden, city.categories) == (True, ())
    assert isinstance(found.target, CategorySketch)
    assert set(found.target.categories) == {"no", "yes"}
    assert [each.num_rows for each in found.scores] == [50, 50]
    assert found.scores[1].measure == "probability of yes"


def test_a_large_table_is_drawn_from_always_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"row": np.arange(1000)})
    first, again = drawn(table, 10), drawn(table, 10)
    assert first.equals(again)
    assert first.column("row").to_pylist() == sorted(first.column("row").to_pylist())
    assert reference_rows(table) is table
    monkeypatch.setattr("training.data.reference_rows.MAX_BYTES", 1 << 20)
    images = pa.table({"image": [b"x" * (1 << 12)] * 400})  # 256 of them would be a MiB, were there nothing beside
    assert 200 < reference_rows(images).num_rows < 257 < MAX_ROWS
