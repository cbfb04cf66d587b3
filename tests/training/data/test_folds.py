"""Rows of folds prepared by themselves: nothing of what is held out reaches a transform, and the test part stays."""

from pathlib import Path

import numpy as np
import pytest

from training.data.config import DataConfig
from training.data.folds import read_folds
from training.data.prepare import prepare
from training.errors import DataError


def write_rows(path: Path, num_rows: int = 60, *, copies: int = 0) -> None:
    lines = [f"{i * i},{'abcdef'[i // 10]},{'yn'[i % 2]}" for i in range(num_rows)]
    path.write_text("\n".join(["x,kind,label", *lines, *lines[:copies]]) + "\n")


def config(folder: Path, **more: object) -> DataConfig:
    return DataConfig.model_validate({"source": str(folder / "rows.csv"), "target": "label", **more})


def test_each_folds_transforms_know_its_training_rows_alone(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    data = config(tmp_path)
    folds = read_folds(data, 4)
    means = set()
    for split in folds.splits:
        facts, train, held = folds.for_workers().encoded(split)
        (column,) = facts.transforms.numeric
        assert column.mean == pytest.approx(np.mean(split.train.astype(float) ** 2)), "of x, which is the row squared"
        means.add(column.mean)
        assert (len(train), len(held)) == (len(split.train), len(split.validation))
    assert len(means) == 4


def test_a_category_that_only_the_held_out_rows_have_is_unknown(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_text().replace(",a,y", ",only once,y", 1)
    (tmp_path / "rows.csv").write_text(lines)
    folds = read_folds(config(tmp_path, split={"test": 0.05}), 4)
    knows = []
    for split in folds.splits:
        facts, _, _ = folds.for_workers().encoded(split)
        knows.append("only once" in facts.transforms.categorical[0].vocabulary)
        assert knows[-1] == (0 in split.train)
    assert sorted(knows) == [False, True, True, True]


def test_folds_of_a_sample_are_of_the_rows_that_the_run_has(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    data = config(tmp_path, sample=0.5)
    ordinary, folds = prepare(data).split, read_folds(data, 3)
    assert ordinary is not None
    rows = sorted([*ordinary.train, *ordinary.validation])
    assert len(rows) < 30
    assert sorted(row for split in folds.splits for row in split.validation) == rows
    assert all(sorted([*split.train, *split.validation]) == rows for split in folds.splits)
    assert folds.whole.train.tolist() == rows


def test_the_test_part_is_that_of_an_ordinary_run_and_in_no_fold(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    data = config(tmp_path)
    ordinary, folds = prepare(data), read_folds(data, 4)
    everything = folds.all_rows()
    assert ordinary.split is not None
    test = set(ordinary.split.test.tolist())
    assert not any(test & {*split.train.tolist(), *split.validation.tolist()} for split in folds.splits)
    assert (len(everything.train), len(everything.validation)) == (60 - len(test), 0)
    np.testing.assert_array_equal(everything.test.target, ordinary.test.target)
    assert everything.facts.fingerprint == ordinary.facts.fingerprint


def test_copies_of_held_out_rows_are_left_out_of_each_folds_training(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", copies=30)
    split = {"kind": "random"}
    noted = read_folds(config(tmp_path, split=split), 3)
    dropped = read_folds(config(tmp_path, split=split, checks={"overlap": "drop"}), 3)
    for before, after in zip(noted.splits, dropped.splits, strict=True):
        twins = set((before.validation % 60).tolist()) | set((before.test % 60).tolist())
        assert twins & set((before.train % 60).tolist()), "without it they are there, or this proves nothing"
        assert not twins & set((after.train % 60).tolist())
    with pytest.raises(DataError, match="equal to rows that are held out"):
        read_folds(config(tmp_path, split=split, checks={"overlap": "refuse"}), 3)


def test_a_separate_test_source_leaves_all_rows_of_the_main_one_to_the_folds(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    (tmp_path / "test.csv").write_text("x,kind,label\n1,a,y\n2,b,n\n3,c,y\n")
    folds = read_folds(config(tmp_path, test=str(tmp_path / "test.csv")), 5)
    assert sorted(np.concatenate([split.validation for split in folds.splits]).tolist()) == list(range(60))
    assert len(folds.all_rows().test) == 3
    assert folds.for_workers().tables.test is None


def test_rows_are_numbered_as_in_the_source(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    (tmp_path / "rows.csv").write_text("\n".join([lines[0], "bad,a,y,too many", *lines[1:]]) + "\n")
    folds = read_folds(config(tmp_path, checks={"max_bad_fraction": 0.1}), 3)
    for number, split in enumerate(folds.splits):
        np.testing.assert_array_equal(folds.numbers(number), split.validation + 1)
