"""Resampling: as many rows as asked for, made of what was there, and of training rows alone."""

import numpy as np
import pytest

from training.data.prepared import Part
from training.data.resample import resample
from training.errors import ConfigError, DataError
from training.learning_config import ImbalanceConfig
from training.package.fitted import CategoricalTransform, NumericTransform, Transforms

LABELS = ("common", "rare", "rarest")
COUNTS = (60, 12, 4)
CITIES = CategoricalTransform(name="city", vocabulary=("Rome", "Oslo", "Bonn"), encode="one_hot")
JOBS = CategoricalTransform(name="job", vocabulary=("cook", "smith", "clerk"))
NUMBERS = (
    NumericTransform(name="age", fill=0, mean=0, scale=1, indicator=True),
    NumericTransform(name="rent", fill=0, mean=0, scale=1),
)
MIXED = Transforms(numeric=NUMBERS, categorical=(CITIES, JOBS))


def part(counts: tuple[int, ...] = COUNTS) -> Part:
    """Numbers that tell their class, then a flag, then one-hot cities and codes of jobs that do so too."""
    draw = np.random.default_rng(0)
    target = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    numeric = draw.normal(10.0 * target[:, None], 1, (len(target), 2))
    flag = (target == 1)[:, None]
    city = np.eye(3)[target]
    codes = (target + 2)[:, None]
    return Part(
        {"numeric": np.concatenate([numeric, flag, city], axis=1).astype(np.float32), "categorical": codes}, target
    )


def counts_of(part: Part) -> list[int]:
    return np.bincount(part.target, minlength=3).tolist()


@pytest.mark.parametrize(
    ("how", "ratio", "counts"),
    [
        ("oversample", 1.0, [60, 60, 60]),
        ("oversample", 0.25, [60, 15, 15]),
        ("oversample", 0.1, [60, 12, 6]),
        ("undersample", 1.0, [4, 4, 4]),
        ("undersample", 0.25, [16, 12, 4]),
        ("smote", 1.0, [60, 60, 60]),
        ("smote", 0.1, [60, 12, 6]),
        ("smote", 0.01, [60, 12, 4]),
    ],
)
def test_as_many_rows_of_each_class_as_asked_for(how: str, ratio: float, counts: list[int]) -> None:
    config = ImbalanceConfig.model_validate({"resample": how, "ratio": ratio})
    before = part()
    after, note = resample(before, config, LABELS, MIXED, seed=0)
    assert counts_of(after) == counts
    assert f"76 training rows became {sum(counts)}" in note
    assert "4 rarest" in note
    assert {name: values.dtype for name, values in after.tensors.items()} == {
        name: values.dtype for name, values in before.tensors.items()
    }
    assert after.target.dtype == before.target.dtype


def test_nothing_asked_for_is_nothing_done() -> None:
    before = part()
    assert resample(before, ImbalanceConfig(), LABELS, MIXED, 0) == (before, "")


@pytest.mark.parametrize("how", ["oversample", "undersample"])
def test_drawn_rows_are_rows_that_there_were(how: str) -> None:
    before = part()
    after, _ = resample(before, ImbalanceConfig.model_validate({"resample": how}), LABELS, MIXED, 0)

    def rows(of: Part) -> set[tuple[float, ...]]:
        columns = (of.tensors["numeric"], of.tensors["categorical"], of.target[:, None])
        return {tuple(row) for row in np.concatenate(columns, axis=1).tolist()}

    assert rows(after) <= rows(before)
    if how == "oversample":
        assert rows(after) == rows(before)


def test_smote_keeps_the_rows_and_makes_others_between_those_of_a_class() -> None:
    before = part()
    after, _ = resample(before, ImbalanceConfig(resample="smote"), LABELS, MIXED, 0)
    for name, values in before.tensors.items():
        np.testing.assert_array_equal(after.tensors[name][: len(before)], values)
    made, label = after.tensors["numeric"][len(before) :], after.target[len(before) :]
    assert set(label) == {1, 2}
    for k in (1, 2):
        own = before.tensors["numeric"][before.target == k][:, :2]
        between = made[label == k][:, :2]
        assert (between >= own.min(axis=0) - 1e-5).all()
        assert (between <= own.max(axis=0) + 1e-5).all()
        assert len(np.unique(between, axis=0)) > 20
    np.testing.assert_array_equal(made[:, 2], label == 1)  # the flag stays 0 or 1
    np.testing.assert_array_equal(made[:, 3:], np.eye(3)[label])  # one city a row
    np.testing.assert_array_equal(after.tensors["categorical"][len(before) :, 0], label + 2)


def test_smote_of_numbers_alone_and_of_categories_alone() -> None:
    whole = part()
    numbers = Part({"numeric": whole.tensors["numeric"][:, :2]}, whole.target)
    plain = Transforms(numeric=(NUMBERS[1], NUMBERS[1]))
    assert counts_of(resample(numbers, ImbalanceConfig(resample="smote"), LABELS, plain, 0)[0]) == [60, 60, 60]
    codes = Part({"categorical": whole.tensors["categorical"]}, whole.target)
    made, _ = resample(codes, ImbalanceConfig(resample="smote"), LABELS, Transforms(categorical=(JOBS,)), 0)
    np.testing.assert_array_equal(made.tensors["categorical"][:, 0], made.target + 2)
    assert list(made.tensors) == ["categorical"]


def test_the_seed_decides() -> None:
    config = ImbalanceConfig(resample="smote")
    one, two, other = (resample(part(), config, LABELS, MIXED, seed)[0].tensors["numeric"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_a_class_of_two_rows_has_one_neighbour_and_of_one_none() -> None:
    assert counts_of(resample(part((30, 9, 2)), ImbalanceConfig(resample="smote"), LABELS, MIXED, 0)[0]) == [30] * 3
    with pytest.raises(DataError, match="'rarest' has 1 training row of 40") as refused:
        resample(part((30, 9, 1)), ImbalanceConfig(resample="smote"), LABELS, MIXED, 0)
    assert "oversample" in refused.value.hint


def test_smote_of_images_is_refused_and_oversampling_them_works() -> None:
    images = Part({"image": np.zeros((12, 1, 4, 4), dtype=np.float32)}, np.repeat([0, 1], [9, 3]))
    with pytest.raises(ConfigError, match="takes image too") as refused:
        resample(images, ImbalanceConfig(resample="smote"), ("a", "b"), Transforms(), 0)
    assert "oversample" in refused.value.hint
    done, _ = resample(images, ImbalanceConfig(resample="oversample"), ("a", "b"), Transforms(), 0)
    assert done.tensors["image"].shape == (18, 1, 4, 4)


def test_a_class_without_training_rows_stays_without() -> None:
    lacking = part()
    rows = lacking.target != 1
    some = Part({name: values[rows] for name, values in lacking.tensors.items()}, lacking.target[rows])
    assert counts_of(resample(some, ImbalanceConfig(resample="smote"), LABELS, MIXED, 0)[0]) == [60, 0, 60]
