"""Learning curves: the experiment's own settings on growing parts of the training rows. Needs a running Ray."""

import contextlib
import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import ray
import torch

from training.alone import as_cause, part_scores, train_alone
from training.config import Experiment
from training.config_file import as_written
from training.curve_record import CURVE_FILE, CurveRecord, Job
from training.data.prepared import Facts, Part, Prepared
from training.errors import TrainingFailed
from training.evaluation.curve import Measured, nested_order, strata_of
from training.progress import Progress
from training.run_folder import RunFolder
from training.tasks import as_task, as_they_end, resources_of


def measure(
    record: CurveRecord, jobs: Sequence[Job], experiment: Experiment, prepared: Prepared, run: RunFolder,
    progress: Progress, code_path: str = "",
) -> CurveRecord:  # fmt: skip
    """Make the trainings, each on its own part of the cluster; what is done is in the run's folder at once.

    Raises:
        CapacityError: not even one training fits the cluster.
        TrainingFailed: every training failed, with their causes.
    """
    resources = resources_of(experiment)
    done = f", {len(record.measured)} are done" if record.measured else ""
    progress.stage("curve", f"{len(jobs)} trainings of {jobs[-1].num_rows:,} to {jobs[0].num_rows:,} rows{done}")
    causes: list[str] = []
    results = _trained(jobs, experiment, prepared, record.metric, code_path, resources, progress)
    with contextlib.closing(results):  # Ctrl-C while a point is written must end the others, too
        for came in results:
            if isinstance(came, str):
                causes.append(came)
                continue
            record = record.model_copy(update={"measured": (*record.measured, came)})
            run.write_json(CURVE_FILE, record.model_dump(mode="json"))
    if not record.measured:
        listed = "\n  ".join([f"all {len(causes)} trainings failed", *sorted(set(causes))[:5]])
        raise TrainingFailed(listed, "mend the cause, and try again")
    if causes:
        progress.note(f"{len(causes)} trainings failed; the same command tries them again")
    return record


def _trained(
    jobs: Sequence[Job], experiment: Experiment, prepared: Prepared, metric: str, code_path: str,
    resources: dict[str, float], progress: Progress,
) -> Generator[Measured | str]:  # fmt: skip
    """What each job came to, in the order in which they end: scores, or the cause of a failure."""
    data: Any = ray.put((prepared.facts, prepared.train, prepared.validation))  # once a node, shared without a copy
    task = as_task(train_on_subset, resources)
    device, written = "cuda" if resources["num_gpus"] else "cpu", as_written(experiment)
    running = {task.remote(data, written, job, metric, code_path, device): job for job in jobs}
    rows_done, rows_all = 0, sum(job.num_rows for job in jobs)
    with contextlib.closing(as_they_end(running)) as ended:
        for number, (job, came) in enumerate(ended, 1):
            rows_done += job.num_rows
            said = f"{job.num_rows:>9,} rows, repeat {job.repeat}: {_said(came, metric)}  {number}/{len(jobs)}"
            yield came  # and with that it is on the disk, before it is told
            progress.step(rows_done, rows_all, said)


def _said(came: Measured | str, metric: str) -> str:
    if isinstance(came, str):
        return f"failed: {came}"
    train, validation = (scores.get(metric, float("nan")) for scores in (came.train, came.validation))
    return f"{metric} {train:.4f} in training, {validation:.4f} in validation"


def train_on_subset(
    data: tuple[Facts, Part, Part], written: dict[str, Any], job: Job, metric: str, code_path: str, device: str
) -> Measured | str:
    """Train once on the first rows of a repeat's own order. A training's own error comes back as its text."""
    experiment = Experiment.model_validate(written)
    torch.set_num_threads(max(1, int(experiment.train.cpus_per_worker)))
    try:
        return _train(data, experiment, job, metric, code_path, torch.device(device))
    except Exception as error:  # told with the others; trying again at once would fail the same way
        return as_cause(error)


def _train(
    data: tuple[Facts, Part, Part], experiment: Experiment, job: Job, metric: str, code_path: str, device: torch.device
) -> Measured:
    began = time.perf_counter()
    facts, train, validation = data
    order_N = nested_order(strata_of(train.target, facts.task), (experiment.train.seed, job.repeat))
    subset = _taken(train, np.sort(order_N[: job.num_rows]))
    trained = train_alone(
        experiment, facts, subset, validation, metric=metric, seed=experiment.train.seed + job.repeat, device=device,
        code_path=code_path,
    )  # fmt: skip
    quantile = experiment.train.loss.judged_quantile
    return Measured(
        num_rows=job.num_rows,
        repeat=job.repeat,
        train=part_scores(trained.model, facts, subset, device, quantile),
        validation=part_scores(trained.model, facts, validation, device, quantile),
        epochs=trained.epochs,
        best_epoch=trained.best_epoch,
        num_steps=trained.num_steps,
        seconds=round(time.perf_counter() - began, 3),
    )


def _taken(part: Part, rows: np.ndarray) -> Part:
    return Part({name: array[rows] for name, array in part.tensors.items()}, part.target[rows])
