"""Ray Train: one experiment -> workers -> the best weights. Needs a running Ray."""

import logging
import math
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor, nn

from training.capacity import Request, require
from training.config import Experiment
from training.config_file import as_written
from training.data.memory import contiguous
from training.data.prepared import Prepared
from training.data.resample import training_rows
from training.data.stream.feeder import RayFeeder, start_feeder
from training.data.stream.part import StreamPart
from training.errors import TrainingFailed
from training.journal import Journal
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model
from training.package.errors import UserError
from training.progress import Progress
from training.run_folder import RunFolder
from training.session import Checkpoint

logger = logging.getLogger(__name__)
CHECKPOINT_FILE = "checkpoint.pt"
POLL_S = 0.2


@dataclass(frozen=True)
class FitResult:
    """The outcome of one training."""

    weights: dict[str, Tensor]  # of the best epoch
    best_epoch: int
    metrics: dict[str, float]  # of the best epoch
    checkpoint: str
    num_workers: int


class TrainWorkerSession:
    """The loop's host under Ray Train. Rank 0 writes checkpoints; Ray moves them to the run's storage."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()

    def wrap(self, model: nn.Module) -> nn.Module:
        """On the device, under DistributedDataParallel where there are peers."""
        return ray.train.torch.prepare_model(model)

    def restore(self) -> Checkpoint | None:
        """The newest checkpoint that Ray Train holds for this run."""
        checkpoint = ray.train.get_checkpoint()
        return read_checkpoint(Path(checkpoint.path), self.device) if checkpoint else None

    def report(self, metrics: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """Hand the epoch to Ray Train. All ranks wait here for each other."""
        facts = dict(metrics) | {"num_workers": self.world_size}
        if checkpoint is None or self.rank != 0:
            ray.train.report(facts)
            return
        with tempfile.TemporaryDirectory() as folder:
            torch.save(checkpoint, Path(folder) / CHECKPOINT_FILE)
            ray.train.report(facts, checkpoint=ray.train.Checkpoint.from_directory(folder))


class JournalEpochs(UserCallback):
    """Writes each reported epoch into the run's journal. Runs on Ray Train's controller, beside the driver."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Rank 0 speaks for all: the scores are synchronised."""
        numbers = dict(metrics[0])
        epoch, seconds = int(numbers.pop("epoch")), numbers.pop("seconds")
        Journal(self._path).append("epoch", epoch=epoch, metrics=numbers, seconds=seconds)


def train_worker(task: dict[str, Any]) -> UserError | None:
    """Runs on every worker: build, resume, train to the end.

    An error of its own is given back, not raised: Ray would start the workers again, to fail the same way. Only
    with peers, which wait for this worker, must one that they do not share be raised.
    """
    session = TrainWorkerSession()
    try:
        _train(task, session)
    except UserError as error:  # every rank has the same one
        return error
    except Exception as error:
        if session.world_size > 1:
            raise
        logger.exception("training failed")
        return _in_one_line(f"worker {session.rank}", error)
    return None


def _train(task: dict[str, Any], session: TrainWorkerSession) -> None:
    experiment = Experiment.model_validate(task["experiment"])
    facts, train, validation = ray.get(task["data"])
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    model = build_model(experiment.model, inputs, experiment.train.seed, task["code_path"], experiment.ensemble)
    feeder = RayFeeder(task["feeder"]) if task.get("feeder") is not None else None
    trainer = Trainer(experiment.train, model, facts, train, validation, session, task["metric"], feeder)
    run_to_end(trainer, session)


def fit(
    experiment: Experiment,
    prepared: Prepared,
    run: RunFolder,
    *,
    name: str,
    metric: str,
    progress: Progress,
    code_path: str,
) -> FitResult:
    """Train once; a training that was interrupted goes on from its last checkpoint.

    Args:
        experiment: what to train.
        prepared: its data.
        run: where checkpoints and epochs are kept.
        name: of this training inside the run: a trial's, or the experiment's own.
        metric: decides which epoch is best.
        progress: told each epoch.
        code_path: folder that a custom model class is imported from.

    Raises:
        CapacityError: the cluster can never hold the workers.
        TrainingFailed: a worker's error when restarts run out, said in one line.
    """
    require_workers(experiment)
    train, note = training_rows(experiment.train, prepared.facts, prepared.train)
    if note:
        progress.note(note)
        run.journal.append("resampled", note=note)
    feeder = start_feeder(train) if isinstance(train, StreamPart) else None
    rows = train if isinstance(train, StreamPart) else contiguous(train)
    task = {
        "experiment": as_written(experiment),
        "data": ray.put((prepared.facts, rows, prepared.validation)),  # once a node, shared by its workers, no copy
        "feeder": feeder,
        "metric": metric,
        "code_path": code_path,
    }
    trainer = _make_trainer(experiment, task, run, name)
    try:
        result = _wait(trainer, run.journal, experiment.train.epochs, metric, progress)
    finally:
        if feeder is not None:
            ray.kill(feeder)  # with its windows
    return _fit_result(result, run, metric)


def _make_trainer(experiment: Experiment, task: dict[str, Any], run: RunFolder, name: str) -> TorchTrainer:
    """Our settings as Ray's. V2 takes and gives more than the types say that Ray ships, which are those of V1."""
    # Ray Train looks for reports this often; its own 2 s make short epochs wait for it.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    train, use_gpu = experiment.train, uses_gpu(experiment)
    is_fixed = train.min_workers == train.max_workers
    num_workers: Any = train.max_workers if is_fixed else (train.min_workers, train.max_workers)
    callbacks: list[Any] = [JournalEpochs(run.journal.path)]
    worker: Any = train_worker
    return TorchTrainer(
        worker,
        train_loop_config=task,
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": train.cpus_per_worker, **({"GPU": 1} if use_gpu else {})},
        ),
        run_config=RunConfig(
            # It has no time or random part: the same name is what lets a restart resume.
            name=name,
            storage_path=str(run.path / "checkpoints"),
            checkpoint_config=CheckpointConfig(num_to_keep=2),  # the newest one holds the best epoch's weights too
            failure_config=FailureConfig(max_failures=train.max_failures),
            callbacks=callbacks,
        ),
    )


def _fit_result(result: Any, run: RunFolder, metric: str) -> FitResult:
    """The best epoch of what Ray gave back, or the worker's error in it."""
    if result.return_value is not None:
        raise result.return_value
    if result.checkpoint is None:
        raise TrainingFailed("training ended without a checkpoint", f"see the logs; the run is in {run.path}")
    path = result.checkpoint.path
    best_epoch = read_checkpoint(Path(path))["best"]["epoch"]
    if best_epoch == 0:
        raise TrainingFailed(f"validation/{metric} was NaN in every epoch", "set search.metric to another score")
    epochs = [event for event in run.journal.events("epoch") if event["epoch"] == best_epoch]
    scores = _numbers(epochs[-1]["metrics"])
    num_workers = int(scores.pop("num_workers"))
    return best_of_checkpoint(path, scores, num_workers)


def require_workers(experiment: Experiment) -> None:
    """Raise CapacityError when the cluster can never hold the training's workers."""
    train = experiment.train
    require(Request(train.min_workers, train.cpus_per_worker, 1.0 if uses_gpu(experiment) else 0.0))


def uses_gpu(experiment: Experiment) -> bool:
    """Whether training takes GPUs: as told, or where there is one for every worker."""
    if experiment.train.device == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= experiment.train.max_workers)
    return experiment.train.device == "gpu"


def read_checkpoint(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint without running any code that it may carry."""
    checkpoint: Checkpoint = torch.load(folder / CHECKPOINT_FILE, map_location=device, weights_only=True)
    return checkpoint


def _wait(
    trainer: TorchTrainer, journal: Journal, num_epochs: int, metric: str, progress: Progress
) -> ray.train.Result:
    """Fit in a thread and show epochs meanwhile.

    In the main thread Ray Train would take over Ctrl-C and leave by sys.exit(0), as if all were well.
    """
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["result"] = trainer.fit()
        except BaseException as error:  # handed over below, in the thread that is waited in
            outcome["error"] = error

    seen = sum(1 for _ in journal.events("epoch"))
    thread = threading.Thread(target=work, name="ray-train-fit", daemon=True)
    thread.start()
    while True:
        alive = thread.is_alive()
        epochs = list(journal.events("epoch"))
        for event in epochs[seen:]:
            metrics = _numbers(event["metrics"])
            decides = {name: metrics[name] for name in ("train/loss", f"validation/{metric}")}
            progress.epoch(event["epoch"], num_epochs, decides | metrics)  # the first two are shown
        seen = len(epochs)
        if not alive:
            break
        time.sleep(POLL_S)
    if error := outcome.get("error"):
        raise root_cause(error) from error
    return outcome["result"]


def _numbers(metrics: dict[str, float | None]) -> dict[str, float]:
    """As the journal wrote them: it has null where a score was NaN."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def root_cause(error: BaseException) -> UserError:
    """The first worker's own error in one line, instead of Ray's nested traces."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    who, cause = "training", getattr(error, "controller_failure", error)
    if failures:
        rank, cause = min(failures.items())
        who = f"worker {rank}"
    while (inner := getattr(cause, "cause", None)) is not None:  # RayTaskError wraps what the worker raised
        cause = inner
    if isinstance(cause, UserError):
        return cause
    return _in_one_line(who, cause)


def _in_one_line(who: str, cause: BaseException) -> TrainingFailed:
    text = " ".join(str(cause).split()) or "no message"
    return TrainingFailed(
        f"{who} failed: {type(cause).__name__}: {text[:500]}",
        "run again with -v for the full trace; what was reached is kept",
    )


def best_of_checkpoint(path: str, metrics: dict[str, float], num_workers: int) -> FitResult:
    """The best epoch's weights, which every checkpoint carries."""
    best = read_checkpoint(Path(path))["best"]
    return FitResult(best["model"], best["epoch"], metrics, path, num_workers)
