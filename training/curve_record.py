"""The record of a learning curve in a run's folder. No torch, no ray: the page and the text read it anywhere."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from training.config import Experiment
from training.data.prepared import Facts, Part, Prepared
from training.errors import DataError, StorageError
from training.evaluation.curve import Measured, subset_sizes
from training.metric_names import METRIC_MODES, Mode
from training.package.manifest import Task
from training.package.shapes import StoredModel
from training.run_folder import WITHOUT_EFFECT, RunFolder, differences

CURVE_FILE, LOCK_FILE = "curve.json", ".curve.lock"
SECTIONS = ("data", "model", "train", "ensemble")  # of an experiment, that decide what a subset gives


class CurveRecord(StoredModel):
    """What `curve.json` holds: every training that was measured, whichever call it was made by."""

    name: str
    metric: str  # without its prefix
    mode: Mode
    task: Task
    fingerprint: str  # of the data
    settings: dict[str, Any]
    num_classes: int
    num_train_rows: int
    num_validation_rows: int
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class CurvePlan:
    """How many sizes, and how many trainings of each."""

    num_points: int = 6
    num_repeats: int = 3


@dataclass(frozen=True)
class Job:
    """One training to make."""

    num_rows: int
    repeat: int  # decides seed and subset; subsets of one repeat are nested


def open_curve(experiment: Experiment, prepared: Prepared, run: RunFolder, metric: str) -> CurveRecord:
    """The record so far, or a new one; nothing is written yet.

    Raises:
        DataError: the training rows are a stream, of which no subsets can be taken.
        StorageError: the folder holds a curve, or a run, of other settings or data.
    """
    if not isinstance(prepared.train, Part):
        raise DataError(
            "a learning curve takes subsets of rows in memory, and these are streamed",
            "data.loading=memory reads all of them, data.sample=0.1 a tenth",
        )
    fresh = _fresh(experiment, prepared, prepared.facts, metric)
    if run.experiment_file.exists():
        _refuse_other(run, _deciding(yaml.safe_load(run.experiment_file.read_text()) or {}), fresh)
    if (earlier := read_curve(run.path)) is None:
        return fresh
    _refuse_other(run, earlier.settings, fresh)
    if earlier.fingerprint != fresh.fingerprint:
        raise StorageError(
            f"the data of {experiment.data.source} changed since the curve in {run.path} was begun",
            f"give the new data a name of its own (--set name={experiment.name}-2), or remove {run.path / CURVE_FILE}",
        )
    return fresh.model_copy(update={"measured": earlier.measured})


def _fresh(experiment: Experiment, prepared: Prepared, facts: Facts, metric: str) -> CurveRecord:
    return CurveRecord(
        name=experiment.name,
        metric=metric,
        mode=METRIC_MODES[metric],
        task=facts.task,
        fingerprint=facts.fingerprint,
        settings=_deciding(experiment.model_dump(mode="json")),
        num_classes=len(facts.labels),
        num_train_rows=len(prepared.train),
        num_validation_rows=len(prepared.validation),
    )


def missing_jobs(record: CurveRecord, plan: CurvePlan) -> list[Job]:
    """Trainings that the plan asks for and the record lacks.

    The largest first, so that the last one running is a short one.
    """
    sizes = subset_sizes(record.num_train_rows, plan.num_points, record.num_classes)
    done = {(each.num_rows, each.repeat) for each in record.measured}
    jobs = [Job(size, repeat) for size in sizes for repeat in range(plan.num_repeats) if (size, repeat) not in done]
    return sorted(jobs, key=lambda job: -job.num_rows)


def read_curve(folder: Path) -> CurveRecord | None:
    """The curve of a run's folder, None where there is none. Raises StorageError for a file that is not one."""
    path = folder / CURVE_FILE
    if not path.exists():
        return None
    try:
        return CurveRecord.model_validate(json.loads(path.read_text()))
    except ValueError as error:
        raise StorageError(f"{path} is not a learning curve: {str(error)[:200]}", f"remove {path}") from error


def _deciding(dumped: dict[str, Any]) -> dict[str, Any]:
    part = {section: dumped.get(section) for section in SECTIONS}
    train = part["train"] or {}
    part["train"] = {key: value for key, value in train.items() if key not in WITHOUT_EFFECT.get("train", ())}
    return part


def _refuse_other(run: RunFolder, earlier: dict[str, Any], fresh: CurveRecord) -> None:
    if changes := differences(earlier, fresh.settings):
        listed = "\n  ".join(changes[:12])
        raise StorageError(
            f"{run.path} holds the work of a different experiment:\n  {listed}",
            f"give this one a name of its own: --set name={fresh.name}-2",
        )
