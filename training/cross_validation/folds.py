"""The trainings of a cross-validation: one a fold and seed, in parallel as the cluster allows. Needs a running Ray."""

import contextlib
from collections.abc import Sequence
from typing import Any

import ray

from training.config_file import as_written
from training.cross_validation.kept import KeptFolds, Predicted
from training.cross_validation.one_fold import Outcome, train_fold
from training.cross_validation.record import Job
from training.data.folds import Folds
from training.errors import TrainingFailed
from training.pipeline import Work
from training.tasks import as_task, as_they_end, resources_of

MAX_CAUSES = 5


def train_folds(work: Work, folds: Folds, jobs: Sequence[Job], kept: KeptFolds) -> None:
    """Make the trainings; each is on the disk before it is told.

    Raises:
        CapacityError: not even one training fits the cluster.
        TrainingFailed: some failed, with their causes. The others are kept.
    """
    running = _started(work, folds, jobs)
    causes: list[str] = []
    with contextlib.closing(as_they_end(running)) as ended:  # Ctrl-C while one is written must end the others, too
        for number, (job, came) in enumerate(ended, 1):
            place = f"fold {job.fold}, seed {job.seed}"
            if isinstance(came, str):
                causes.append(f"{place}: {came}")
            else:
                _keep(work, kept, folds, came)
            work.progress.step(number, len(jobs), f"{place}: {_said(came, work.metric)}  {number}/{len(jobs)}")
    if causes:
        raise TrainingFailed(
            "\n  ".join([f"{len(causes)} of {len(jobs)} trainings failed", *sorted(causes)[:MAX_CAUSES]]),
            "mend the cause; the same command makes those that are missing",
        )


def _started(work: Work, folds: Folds, jobs: Sequence[Job]) -> dict[Any, Job]:
    resources = resources_of(work.experiment)
    task = as_task(train_fold, resources)
    source = ray.put(folds.for_workers())  # once a node, shared without a copy
    splits = {fold: ray.put(folds.splits[fold]) for fold in {job.fold for job in jobs}}
    device, written = "cuda" if resources["num_gpus"] else "cpu", as_written(work.experiment)
    return {
        task.remote(source, splits[job.fold], written, job, work.metric, work.code_path, device): job for job in jobs
    }


def _keep(work: Work, kept: KeptFolds, folds: Folds, came: Outcome) -> None:
    result, target, scores = came
    kept.keep(result, Predicted(folds.numbers(result.fold), target, scores))
    work.run.journal.append("fold", num_folds=len(folds.splits), **result.model_dump(mode="json"))


def _said(came: Outcome | str, metric: str) -> str:
    if isinstance(came, str):
        return f"failed: {came}"
    return f"{metric} {came[0].scores.get(metric, float('nan')):.4f}, best epoch {came[0].best_epoch}"
