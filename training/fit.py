"""One experiment -> its host -> the best weights. One worker on this machine needs no Ray; others are Ray Train's."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import ray
import torch

from training.capacity import Request, require
from training.config import Experiment
from training.config_file import as_written
from training.data.memory import contiguous
from training.data.prepared import Part, Prepared
from training.data.stream.feeder import start_feeder
from training.data.stream.part import StreamPart
from training.data.training_rows import training_rows
from training.determinism import deterministic
from training.errors import CapacityError, TrainingFailed
from training.hosts.in_process import own_session
from training.hosts.judge import TRACES
from training.hosts.keeper import checkpoint_at, last_checkpoint
from training.hosts.machines import started_here
from training.hosts.monitor import Report
from training.hosts.pulse import Scale
from training.hosts.record import Recorder
from training.hosts.result import FitResult, result_of
from training.hosts.root_cause import describe
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model
from training.package.errors import UserError
from training.progress import Progress
from training.run_folder import RunFolder
from training.session import Leaving

__all__ = ["FitResult", "best_of_checkpoint", "fit", "require_workers", "uses_gpu"]
Host = Literal["auto", "here", "workers"]


def fit(
    experiment: Experiment, prepared: Prepared, run: RunFolder, *, name: str, metric: str, progress: Progress,
    code_path: str, host: Host = "auto",
) -> FitResult:  # fmt: skip
    """Train once; a training that was interrupted goes on from its last checkpoint.

    Args:
        experiment: what to train.
        prepared: its data.
        run: where checkpoints and epochs are kept.
        name: of this training inside the run: a trial's, or the experiment's own.
        metric: decides which epoch is best.
        progress: told each epoch.
        code_path: folder that a custom model class is imported from.
        host: here, in this process, or by workers of Ray Train; auto: here for one worker, where there is no Ray or
            one that this process started.

    Raises:
        CapacityError: the cluster can never hold the workers.
        TrainingFailed: with the root cause in one line, when trying again is over.
        KeyboardInterrupt, SystemExit: a signal came; training has saved itself, unless it came twice.
    """
    is_here = runs_here(experiment, host)
    require_workers(experiment, host)
    rows, note = training_rows(experiment.train, prepared.facts, prepared.train)
    if note:
        progress.note(note)
        run.journal.append("resampled", note=note)
    steps = math.ceil(len(rows) / experiment.train.global_batch_size) * experiment.train.epochs
    scale = Scale(experiment.train.epochs, steps, len(rows))
    recorder = Recorder(run.journal, run.path, progress, name=name, metric=metric, scale=scale)
    training = _Training(experiment, prepared, rows, run, name, metric, code_path, recorder, progress)
    return training.here() if is_here else training.on_workers()


class _Training:
    """What both hosts are given."""

    def __init__(
        self, experiment: Experiment, prepared: Prepared, rows: Part | StreamPart, run: RunFolder, name: str,
        metric: str, code_path: str, recorder: Recorder, progress: Progress,
    ) -> None:  # fmt: skip
        self.experiment, self.prepared, self.rows = experiment, prepared, rows
        self.metric, self.code_path, self.recorder, self.progress = metric, code_path, recorder, progress
        self.checkpoints = run.checkpoints_of(name)

    def here(self) -> FitResult:
        """In this process."""
        config, facts = self.experiment.train, self.prepared.facts
        device = torch.device("cuda" if uses_gpu(self.experiment) else "cpu")
        step = [0]
        try:
            with (
                self._no_traces(lambda: step[0]),
                deterministic(config),
                own_session(
                    config, device, len(self.rows), self.recorder, self.progress.note, self.checkpoints
                ) as session,
            ):
                inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
                model = build_model(
                    self.experiment.model, inputs, config.seed, self.code_path, self.experiment.ensemble
                )
                trainer = Trainer(
                    config, model, facts, self.rows, self.prepared.validation, session, self.metric,
                    code_path=self.code_path,
                )  # fmt: skip
                run_to_end(trainer, session)
        except Leaving as left:
            raise TrainingFailed(f"training left at step {left.place.step}", "start it again to go on") from left
        return self._result(1)

    def on_workers(self) -> FitResult:
        """By Ray Train."""
        from training.hosts.ray_train import train_on_workers  # noqa: PLC0415  # 5 s that one worker need not wait

        feeder = start_feeder(self.rows) if isinstance(self.rows, StreamPart) else None
        rows = self.rows if isinstance(self.rows, StreamPart) else contiguous(self.rows)
        task = {
            "experiment": as_written(self.experiment),
            "data": ray.put((self.prepared.facts, rows, self.prepared.validation)),
            "feeder": feeder,
            "metric": self.metric,
            "code_path": self.code_path,
            "checkpoints": self.checkpoints,
            "num_samples": len(rows),
        }
        try:
            report = train_on_workers(
                self.experiment.train, request_of(self.experiment), task, self.recorder, self.progress
            )
        finally:
            if feeder is not None:
                ray.kill(feeder)  # with its windows
        return self._result(report.pulses[0].world_size if report.pulses else 1, report)

    def _result(self, num_workers: int, report: Report | None = None) -> FitResult:
        checkpoint, path = last_checkpoint(self.checkpoints)
        self.recorder.history(checkpoint["history"])
        lost, restarts = (report.lost_steps, report.restarts) if report else (0, 0)
        return result_of(checkpoint, path, self.metric, num_workers, lost, restarts)

    @contextmanager
    def _no_traces(self, step: Callable[[], int]) -> Iterator[None]:
        """One line for the person, and the trace in the run's folder."""
        try:
            yield
        except (UserError, Leaving):
            raise
        except Exception as error:
            cause = describe(error, rank=0, ip="", pid=0, step=step())
            self.recorder.trace(cause.line(1), cause.trace)
            raise TrainingFailed(cause.line(1), TRACES) from error


def runs_here(experiment: Experiment, host: Host = "auto") -> bool:
    """Whether a training needs no workers but this process."""
    if host != "auto":
        return host == "here"
    return experiment.train.max_workers == 1 and (not ray.is_initialized() or started_here())


def request_of(experiment: Experiment) -> Request:
    """Workers at most, and what each takes."""
    train = experiment.train
    return Request(train.max_workers, train.cpus_per_worker, 1.0 if uses_gpu(experiment) else 0.0)


def require_workers(experiment: Experiment, host: Host = "auto") -> None:
    """Raise CapacityError when the training's workers can never start."""
    train = experiment.train
    if ray.is_initialized():
        require(Request(train.min_workers, train.cpus_per_worker, 1.0 if uses_gpu(experiment) else 0.0))
        return
    if not runs_here(experiment, host):
        raise CapacityError(f"{train.max_workers} workers need a Ray", "start one, or --set train.workers=1")
    cpus = os.cpu_count() or 1
    if train.device == "gpu" and not torch.cuda.is_available():
        raise CapacityError(
            f"1 worker of {train.cpus_per_worker:g} CPU and 1 GPU each can never start here: torch sees no GPU",
            "--set train.device=cpu trains without GPUs",
        )
    if train.cpus_per_worker > cpus:
        raise CapacityError(
            f"1 worker of {train.cpus_per_worker:g} CPU each can never start here: this machine has {cpus} CPU",
            f"--set train.cpus_per_worker={cpus} is the most",
        )


def uses_gpu(experiment: Experiment) -> bool:
    """Whether training takes GPUs: as told, or where there is one for every worker."""
    if experiment.train.device != "auto":
        return experiment.train.device == "gpu"
    there = ray.cluster_resources().get("GPU", 0) if ray.is_initialized() else torch.cuda.device_count()
    return bool(there >= experiment.train.max_workers)


def best_of_checkpoint(path: str, metrics: dict[str, float], num_workers: int) -> FitResult:
    """The best epoch's weights, which every checkpoint carries."""
    checkpoint = checkpoint_at(path)
    best = checkpoint["best"]
    return FitResult(best["model"], best["epoch"], metrics, path, num_workers, int(checkpoint["step"]))
