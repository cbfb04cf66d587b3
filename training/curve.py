"""Learning curves: the experiment's own settings on growing parts of the training rows. Needs a running Ray."""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError
from torch import nn

from training.capacity import Request, require
from training.config import Experiment
from training.config_file import as_written
from training.curve_record import CURVE_FILE, CurveRecord, Job
from training.data.prepared import Facts, Part, Prepared
from training.data.resample import training_rows
from training.errors import TrainingFailed
from training.evaluation.curve import Measured, nested_order, strata_of
from training.fit import uses_gpu
from training.loop import EVALUATION_BATCH, Trainer, to_scores
from training.metrics import Scores
from training.models import ModelInputs, build_model
from training.progress import Progress
from training.run_folder import RunFolder
from training.session import PlainSession

MAX_RETRIES = 3  # of a training whose process died


def measure(
    record: CurveRecord, jobs: Sequence[Job], experiment: Experiment, prepared: Prepared, run: RunFolder,
    progress: Progress, code_path: str = "",
) -> CurveRecord:  # fmt: skip
    """Make the trainings, each on its own part of the cluster; what is done is in the run's folder at once.

    Raises:
        CapacityError: not even one training fits the cluster.
        TrainingFailed: every training failed, with their causes.
    """
    resources = {"num_cpus": experiment.train.cpus_per_worker, "num_gpus": 1.0 if uses_gpu(experiment) else 0.0}
    require(Request(1, resources["num_cpus"], resources["num_gpus"]))
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
    task = ray.remote(train_on_subset).options(max_retries=MAX_RETRIES, **resources)
    device, written = "cuda" if resources["num_gpus"] else "cpu", as_written(experiment)
    running = {task.remote(data, written, job, metric, code_path, device): job for job in jobs}
    rows_done, rows_all = 0, sum(job.num_rows for job in jobs)
    with _cancelled_at_the_end(running):
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            job, came = running.pop(ready), _result(ready)
            rows_done += job.num_rows
            place = f"{len(jobs) - len(running)}/{len(jobs)}"
            said = f"{job.num_rows:>9,} rows, repeat {job.repeat}: {_said(came, metric)}  {place}"
            yield came  # and with that it is on the disk, before it is told
            progress.step(rows_done, rows_all, said)


@contextlib.contextmanager
def _cancelled_at_the_end(running: dict[Any, Job]) -> Iterator[None]:
    """Ctrl-C must not leave trainings behind on a cluster that stays."""
    try:
        yield
    finally:
        for reference in running:
            ray.cancel(reference)  # not by force: the worker would be gone, too, and the next call wait for another


def _result(reference: Any) -> Measured | str:
    try:
        found: Measured | str = ray.get(reference)
    except RayError as error:
        return _one_line(error)
    return found


def _said(came: Measured | str, metric: str) -> str:
    if isinstance(came, str):
        return f"failed: {came}"
    train, validation = (scores.get(metric, float("nan")) for scores in (came.train, came.validation))
    return f"{metric} {train:.4f} in training, {validation:.4f} in validation"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def train_on_subset(
    data: tuple[Facts, Part, Part], written: dict[str, Any], job: Job, metric: str, code_path: str, device: str
) -> Measured | str:
    """Train once on the first rows of a repeat's own order. A training's own error comes back as its text."""
    experiment = Experiment.model_validate(written)
    torch.set_num_threads(max(1, int(experiment.train.cpus_per_worker)))
    try:
        return _train(data, experiment, job, metric, code_path, torch.device(device))
    except Exception as error:  # told with the others; trying again at once would fail the same way
        return _one_line(error)


def _train(
    data: tuple[Facts, Part, Part], experiment: Experiment, job: Job, metric: str, code_path: str, device: torch.device
) -> Measured:
    began = time.perf_counter()
    facts, train, validation = data
    config = experiment.train.model_copy(update={"seed": experiment.train.seed + job.repeat})
    order_N = nested_order(strata_of(train.target, facts.task), (experiment.train.seed, job.repeat))
    subset = _taken(train, np.sort(order_N[: job.num_rows]))
    learned_from, _ = training_rows(config, facts, subset)
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    model = build_model(experiment.model, inputs, config.seed, code_path, experiment.ensemble)
    trainer = Trainer(config, model, facts, learned_from, validation, PlainSession(device=device), metric)
    while not trainer.finished:
        trainer.train_epoch()
    if best := trainer.checkpoint()["best"]["model"]:
        model.load_state_dict(best)
    return Measured(
        num_rows=job.num_rows,
        repeat=job.repeat,
        train=_scores(model, facts, subset, device),
        validation=_scores(model, facts, validation, device),
        epochs=trainer.epoch,
        best_epoch=trainer.best_epoch,
        num_steps=trainer.best_epoch * trainer.steps_per_epoch,
        seconds=round(time.perf_counter() - began, 3),
    )


def _taken(part: Part, rows: np.ndarray) -> Part:
    return Part({name: array[rows] for name, array in part.tensors.items()}, part.target[rows])


@torch.no_grad()
def _scores(model: nn.Module, facts: Facts, part: Part, device: torch.device) -> dict[str, float]:
    """All scores that exist for a part."""
    model.eval()
    collected = Scores(facts.task, len(facts.labels), device)
    for start in range(0, len(part), EVALUATION_BATCH):
        rows = slice(start, start + EVALUATION_BATCH)
        # Copied: arrays of the object store cannot be written to, which torch warns of.
        tensors = [torch.from_numpy(array[rows].copy()).to(device) for array in part.tensors.values()]
        target_B = torch.from_numpy(part.target[rows].copy()).to(device)
        collected.update(to_scores(model(*tensors), facts), target_B)
    return {name: value for name, value in collected.compute().items() if np.isfinite(value)}
