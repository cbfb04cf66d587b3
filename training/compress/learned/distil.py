"""Distillation: smaller models of the same kind learn from the answers of the trained one, and the best size is kept.

Optuna proposes sizes; each is judged by its validation score and its number of weights.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import Trial, TrialState
from torch import nn

from training.compress.errors import NotMade
from training.compress.gate.goodness import drop_of
from training.compress.learned.around import Around, Base, num_weights
from training.compress.learned.sizes import can_be_shallower, shrunk
from training.compress.learned.tuning import fine_tune, validation_score
from training.compress_config import DistilConfig
from training.metric_names import METRIC_MODES, Mode
from training.model_config import ModelConfig
from training.models import ModelInputs, build_model
from training.package.errors import UserError
from training.progress import Progress, Silent

ASKED_A_STUDENT = 5  # proposals looked at for one student at most: widths are rounded, and many come to the same
MIN_DEPTH = 0.5  # share of the layers that a student keeps at least


@dataclass(frozen=True)
class Distilled:
    """The student that was chosen, and all that were trained.

    Each of `tried` says its `share` of the widths, its `settings`, `num_weights` and `validation_score`; of one that
    could not be trained the score is None, and `failed` says why.
    """

    base: Base
    tried: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Student:
    """A model that was taught, and how well it learned."""

    model: nn.Module
    num_weights: int
    score: float


def distilled(teacher: Base, config: DistilConfig, around: Around, progress: Progress | None = None) -> Distilled:
    """The smallest student that scores as well as is allowed on the validation rows; else the one that scores best.

    Args:
        teacher: left as it is.
        config: how many students, of which sizes, and how they learn.
        around: data and settings; `experiment.model` is what students are smaller forms of.
        progress: told each student.

    Raises:
        NotMade: no student could be made, or there is nothing to judge them by; with the reason.
    """
    if not len(around.prepared.validation):
        raise NotMade("students are judged on the validation rows, and there are none")
    known = teacher.validation_score
    score = validation_score(teacher.model, around) if known is None else known
    tried: list[dict[str, Any]] = []
    students = list(_students(teacher, config, around, tried, progress or Silent()))
    if not students:
        raise NotMade(tried[0]["failed"] if tried else "no size between the shares asked for is smaller than the model")
    mode = METRIC_MODES[around.metric]
    best = smallest_good(students, score, mode, around.experiment.compress.max_drop)
    share = best.num_weights / max(num_weights(teacher.model), 1)
    return Distilled(teacher.after(f"distilled-{max(1, round(100 * share))}", best.model, best.score), tuple(tried))


def smallest_good(students: Sequence[Student], teacher_score: float, mode: Mode, max_drop: float) -> Student:
    """The smallest whose loss against the teacher is allowed; where none is, the one that scores best."""
    good = [each for each in students if drop_of(teacher_score, each.score, mode) <= max_drop]
    if good:
        return min(good, key=lambda each: each.num_weights)
    return max(students, key=lambda each: each.score if mode == "max" else -each.score)


def _students(
    teacher: Base, config: DistilConfig, around: Around, tried: list[dict[str, Any]], progress: Progress
) -> Iterator[Student]:
    study, seen = _study(config, around), dict[str, Student | None]()
    most = num_weights(teacher.model)
    for _ in range(config.trials * ASKED_A_STUDENT):
        if len(tried) == config.trials:
            break
        trial = study.ask(_sizes(config, around.experiment.model))
        width = trial.params["width"]
        settings = shrunk(around.experiment.model, width, trial.params.get("depth", 1.0))
        key = settings.model_dump_json()
        if key not in seen:
            told: dict[str, Any] = {"share": width, "settings": settings.model_dump(mode="json")}
            student = seen[key] = _taught(settings, teacher.model, config, around, told, most)
            tried.append(told)
            progress.step(len(tried), config.trials, f"student of {width:.0%} of the widths")
            if student is not None:
                yield student
        _tell(study, trial, seen[key])


def _tell(study: Study, trial: Trial, student: Student | None) -> None:
    if student is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, (student.score, float(student.num_weights)))


def _taught(
    settings: ModelConfig, teacher: nn.Module, config: DistilConfig, around: Around, told: dict[str, Any], most: int
) -> Student | None:
    """One student; None where it cannot be made, and `told` says why."""
    experiment, facts = around.experiment, around.prepared.facts
    told |= {"num_weights": None, "validation_score": None}
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    try:
        model = build_model(settings, inputs, experiment.train.seed, around.code_path, experiment.ensemble)
        told["num_weights"] = num = num_weights(model)
        if num >= most:
            raise NotMade(f"a student of {num:,} weights is not smaller than the model of {most:,}")
        taught, score = fine_tune(
            model, around, epochs=config.epochs or experiment.train.epochs,
            peak_lr=config.peak_lr or experiment.train.peak_lr, teacher=teacher, distil=config,
        )  # fmt: skip
        if not math.isfinite(score):
            raise NotMade(f"its {around.metric} on the validation rows is {score}")
    except UserError as error:
        told["failed"] = error.message
        return None
    told["validation_score"] = score
    return Student(taught, num_weights(taught), score)


def _study(config: DistilConfig, around: Around) -> Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mode = METRIC_MODES[around.metric]
    # By default the first ten would be drawn at random, which is more than are usually asked for.
    sampler = TPESampler(seed=around.experiment.train.seed, n_startup_trials=max(2, config.trials // 2))
    study = optuna.create_study(
        directions=["maximize" if mode == "max" else "minimize", "minimize"], sampler=sampler
    )  # fmt: skip
    least, largest = config.size
    study.enqueue_trial({"width": math.sqrt(least * largest)})  # the middle, which is all where one is asked for
    return study


def _sizes(config: DistilConfig, model: ModelConfig) -> dict[str, BaseDistribution]:
    widths: dict[str, BaseDistribution] = {"width": FloatDistribution(*config.size)}
    return widths | ({"depth": FloatDistribution(MIN_DEPTH, 1.0)} if can_be_shallower(model) else {})
