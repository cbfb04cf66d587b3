"""Distillation: which student is taken, what is recorded, and when there is none."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.training.compress.learned.made import around, untrained
from training.compress.errors import NotMade
from training.compress.learned.around import Around, Base, num_weights
from training.compress.learned.distil import Student, distilled, smallest_good
from training.compress.learned.tuning import validation_score
from training.compress_config import DistilConfig
from training.data.prepared import Part, Prepared
from training.metric_names import Mode
from training.progress import Silent

NET = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("scores", "mode", "max_drop", "taken"),
    [
        ({100: 0.9, 50: 0.89, 20: 0.5}, "max", 0.02, 50),
        ({100: 0.9, 50: 0.89, 20: 0.5}, "max", 0.005, 100),
        ({100: 0.8, 50: 0.7, 20: 0.5}, "max", 0.005, 100),
        ({100: 40.0, 50: 40.4, 20: 50.0}, "min", 0.02, 50),  # errors: relative to the teacher's 40
        ({100: 45.0, 50: 44.0, 20: 50.0}, "min", 0.02, 50),
    ],
)
def test_the_smallest_good_student_is_taken_else_the_best(
    scores: dict[int, float], mode: Mode, max_drop: float, taken: int
) -> None:
    students = [Student(NET, num, score) for num, score in scores.items()]
    best = smallest_good(students, 0.9 if mode == "max" else 40.0, mode, max_drop)
    assert best.num_weights == taken


class Heard(Silent):
    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []

    def step(self, done: float, total: float, text: str) -> None:
        self.steps.append((done, total))


def test_a_student_is_smaller_and_takes_what_the_teacher_takes(small: Around, learned: Base) -> None:
    heard = Heard()
    found = distilled(learned, DistilConfig(trials=3, epochs=1, size=(0.2, 0.9)), small, heard)
    base = found.base
    assert heard.steps == [(1, 3), (2, 3), (3, 3)]
    assert base.num_weights == num_weights(base.model) < learned.num_weights
    assert base.steps == (f"distilled-{round(100 * base.num_weights / learned.num_weights)}",)
    assert base.model(*small.some_rows(3)).shape == (3, 10)
    assert len({str(each["settings"]) for each in found.tried}) == 3
    assert base.validation_score in [each["validation_score"] for each in found.tried]
    assert all(0.2 <= each["share"] <= 0.9 and each["num_weights"] < learned.num_weights for each in found.tried)


def test_one_size_is_trained_once_however_often_it_is_proposed(digits: Prepared) -> None:
    place = around(digits, {"hidden": (24,)})
    model = untrained(place)
    found = distilled(Base(model), DistilConfig(trials=4, epochs=1, size=(0.3, 0.35)), place)
    assert [each["settings"]["hidden"] for each in found.tried] == [[8]]


def test_a_model_that_is_as_small_as_can_be_has_no_student(digits: Prepared) -> None:
    place = around(digits, {"hidden": (8,)})
    with pytest.raises(NotMade, match="a student of 592 weights is not smaller than the model of 592"):
        distilled(Base(untrained(place)), DistilConfig(trials=2, epochs=1), place)


def test_a_model_of_your_own_without_widths_has_no_student(digits: Prepared) -> None:
    place = around(digits, {"target": "tests.training.nets:Puts"})
    model = torch.nn.Linear(64, 10)
    with pytest.raises(NotMade, match="a model of your own says nothing of its size"):
        distilled(Base(model, (), num_weights(model), 0.5), DistilConfig(trials=1), place)


def test_a_model_of_your_own_with_a_width_has_one(digits: Prepared, tmp_path: object) -> None:
    place = around(digits, {"target": "tests.training.nets:Counted", "args": {"file": f"{tmp_path}/f", "width": 64}})
    found = distilled(Base(untrained(place)), DistilConfig(trials=1, epochs=1), place)
    assert found.tried[0]["settings"]["args"]["width"] == 16
    assert found.base.num_weights == 64 * 16 + 16 * 10


def test_without_rows_that_judge_there_is_no_choice(small: Around, learned: Base) -> None:
    validation = small.prepared.validation
    none = Part({name: values[:0] for name, values in validation.tensors.items()}, validation.target[:0])
    blind = dataclasses.replace(small, prepared=dataclasses.replace(small.prepared, validation=none))
    with pytest.raises(NotMade, match="there are none"):
        distilled(learned, DistilConfig(trials=1), blind)


def test_a_size_is_chosen_by_the_score_that_must_be_kept(small: Around, learned: Base) -> None:
    by_loss = dataclasses.replace(small, metric="log_loss")
    teacher = dataclasses.replace(learned, validation_score=None)  # that one is an accuracy
    found = distilled(teacher, DistilConfig(trials=2, epochs=1, size=(0.2, 0.9)), by_loss)
    scores = [each["validation_score"] for each in found.tried]
    assert found.base.validation_score == min(scores) == validation_score(found.base.model, by_loss)
    assert min(scores) > 1.005 * validation_score(learned.model, by_loss)  # none is good enough, so the best is taken
