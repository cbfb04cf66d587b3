"""Learning from a teacher: what the distance is, who gets gradients, and that each row has its own answer."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.compress.learned.made import around, untrained
from training.compress.learned.around import Around, Base
from training.compress.learned.teacher import Teacher, distance
from training.compress.learned.tuning import fine_tune
from training.compress_config import DistilConfig
from training.data.prepared import Prepared
from training.package.byte_tokens import IGNORED
from training.package.manifest import Task

TARGET = torch.zeros(5, 3, dtype=torch.int64)
CPU = torch.device("cpu")
SHAPES: list[tuple[Task, tuple[int, ...]]] = [
    ("classification", (5, 4)), ("multilabel", (5, 4)), ("regression", (5, 1)), ("language_modelling", (5, 3, 4))
]  # fmt: skip


@pytest.mark.parametrize(("task", "shape"), SHAPES)
def test_the_distance_of_equal_answers_is_0_and_grows_with_what_differs(task: Task, shape: tuple[int, ...]) -> None:
    said, other = torch.randn(shape), torch.randn(shape)
    far = distance(task, other, said, 2.0, TARGET)
    near = distance(task, said + 0.1 * (other - said), said, 2.0, TARGET)
    assert far.shape == (5,)
    assert (far > near).all()
    assert (near > 0).all()
    torch.testing.assert_close(distance(task, said, said, 2.0, TARGET), torch.zeros(5), atol=1e-6, rtol=0)


def test_the_distance_of_classes_is_hintons() -> None:
    said, output = torch.randn(5, 4), torch.randn(5, 4)
    wanted = 9 * F.kl_div((output / 3).log_softmax(1), (said / 3).softmax(1), reduction="batchmean")
    torch.testing.assert_close(distance("classification", output, said, 3.0, TARGET).mean(), wanted)


def test_labels_are_each_a_question_of_two_answers() -> None:
    said, output = torch.randn(5, 1), torch.randn(5, 1)
    pair = [torch.cat([logit, torch.zeros_like(logit)], dim=1) for logit in (output, said)]
    of_two = distance("classification", *pair, 2.0, TARGET)
    torch.testing.assert_close(distance("multilabel", output, said, 2.0, TARGET), of_two)


def test_members_of_an_ensemble_learn_from_the_one_answer() -> None:
    output, said = torch.randn(5, 2, 4), torch.randn(5, 4)
    each = distance("classification", output, said, 2.0, TARGET)
    torch.testing.assert_close(each[:, 1], distance("classification", output[:, 1], said, 2.0, TARGET))


def test_tokens_that_nobody_wants_do_not_count() -> None:
    output, said = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    target = TARGET.clone()
    target[:, 2] = IGNORED
    torch.testing.assert_close(
        distance("language_modelling", output, said, 2.0, target),
        distance("language_modelling", output[:, :2], said[:, :2], 2.0, TARGET[:, :2]),
    )


def test_a_student_does_not_own_its_teacher_and_alone_gets_gradients() -> None:
    student, master = nn.Linear(3, 4), nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 4))
    names = list(student.state_dict())
    teacher = Teacher(master, CPU)
    teacher.stand_beside(student)
    rows = torch.randn(5, 3)
    output = student(rows)
    said = teacher.said()
    torch.testing.assert_close(said, master.eval()(rows))  # without its dropout
    distance("classification", output, said, 2.0, TARGET).mean().backward()
    assert list(student.state_dict()) == [name for name, _ in student.named_parameters()] == names
    assert student.weight.grad is not None
    assert all(parameter.grad is None for parameter in master.parameters())
    assert not said.requires_grad


def test_a_teacher_is_asked_in_training_only() -> None:
    asked: list[Tensor] = []
    student, master = nn.Linear(3, 4), nn.Linear(3, 4)
    master.register_forward_hook(lambda _module, given, _answer: asked.append(given[0]))
    Teacher(master, CPU).stand_beside(student)
    student.eval()(torch.randn(5, 3))
    assert not asked
    student.train()(torch.randn(5, 3))
    assert len(asked) == 1


def test_rows_put_through_in_pieces_are_taught_the_same(small: Around, learned: Base, digits: Prepared) -> None:
    settings = {"optimizer": {"kind": "sgd"}, "max_grad_norm": None}
    whole, pieces = (
        around(digits, {"hidden": (16,)}, train={**settings, "micro_batch": size, "early_stopping": None})
        for size in (None, 7)
    )
    only_taught = DistilConfig(teacher_share=1.0)
    one, other = (
        fine_tune(untrained(place), place, epochs=1, peak_lr=0.1, teacher=learned.model, distil=only_taught)[0]
        for place in (whole, pieces)
    )
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)
    assert not torch.equal(next(one.parameters()), next(untrained(whole).parameters()))


def test_a_student_comes_to_answer_as_its_teacher_does(small: Around, learned: Base) -> None:
    rows = small.some_rows(200)

    def gap(model: nn.Module) -> float:
        with torch.no_grad():
            return float(distance("classification", model(*rows), learned.model(*rows), 1.0, TARGET).mean())

    start = untrained(small)
    taught, _ = fine_tune(
        start, small, epochs=2, peak_lr=0.01, teacher=learned.model, distil=DistilConfig(teacher_share=1.0)
    )
    assert gap(taught) < 0.3 * gap(start)
