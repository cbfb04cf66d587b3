"""From experiment to tensors: parts that do not overlap, transforms that do not leak."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.config import DataConfig
from training.data.prepare import prepare
from training.errors import DataError


def test_transforms_know_the_training_rows_only(tmp_path: Path) -> None:
    """A value that stands in one part alone must not move the mean that the others are scaled with."""
    rows = pa.table({"a": np.arange(100.0), "c": [f"v{i}" for i in range(100)], "y": ["u", "v"] * 50})
    pq.write_table(rows, tmp_path / "t.parquet")
    prepared = prepare(DataConfig(source=str(tmp_path / "t.parquet"), target="y"))
    train_rows = rows.take(prepared.split.train)
    (numeric,), (category,) = prepared.facts.transforms.numeric, prepared.facts.transforms.categorical
    assert numeric.mean == pytest.approx(train_rows.column("a").to_numpy().mean())
    assert set(category.vocabulary) == set(train_rows.column("c").to_pylist())
    assert set(prepared.test.tensors["categorical"].ravel()) == {1}  # unknown, all of them


def test_a_separate_test_source_with_other_spelling(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n" + "".join(f"{i},{'no' if i % 2 else 'yes'}\n" for i in range(40)))
    (tmp_path / "b.csv").write_text("a,y\n1,no.\n2,yes.\n")
    data = DataConfig(source=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv"), target="y")
    with pytest.raises(DataError, match=r"'no\.', 'yes\.'"):
        prepare(data)
    prepared = prepare(data.model_copy(update={"rename_labels": {"no.": "no", "yes.": "yes"}}))
    assert prepared.test.target.tolist() == [0, 1]
    assert len(prepared.train) + len(prepared.validation) == 40
    (tmp_path / "b.csv").write_text("b,y\n1,no\n2,yes\n")
    with pytest.raises(DataError, match="lacks the columns a"):
        prepare(data)


def test_a_separate_test_source_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n" + "1,u\n2,v\n3,u\n4,v\n" * 20)
    (tmp_path / "b.csv").write_text("a,y\nx,u\nz,v\n")
    data = DataConfig(source=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv"), target="y")
    with pytest.raises(DataError, match=r"data\.test .*b\.csv, read as data\.source was: [^$]*a: declared numeric"):
        prepare(data)


def test_images_need_as_many_columns_as_pixels() -> None:
    prepared = prepare(DataConfig(source="sklearn:digits", target="target", image_shape=(1, 8, 8)))
    assert prepared.train.tensors["image"].shape[1:] == (1, 8, 8)
    assert abs(prepared.train.tensors["image"].mean()) < 1e-3
    with pytest.raises(DataError, match="needs 81 numeric columns, the table has 64"):
        prepare(DataConfig(source="sklearn:digits", target="target", image_shape=(1, 9, 9)))


def test_regression_targets_are_kept_in_their_unit() -> None:
    prepared = prepare(DataConfig(source="sklearn:diabetes", target="target"))
    assert prepared.facts.task == "regression"
    assert prepared.facts.target_mean == pytest.approx(prepared.train.target.mean())
    assert prepared.train.target.max() > 100
