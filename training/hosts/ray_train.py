"""The host of several workers, or of a real cluster: Ray Train. The driver waits, writes the record, and shows it."""

import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig

from training.capacity import Request
from training.errors import TrainingFailed
from training.hosts import machines
from training.hosts.judge import TRACES
from training.hosts.monitor import Monitor, Report
from training.hosts.policies import OurTrainer
from training.hosts.record import Recorder, Waiting
from training.hosts.worker import Task, torch_timeout_s, train_worker
from training.progress import Progress
from training.train_config import TrainConfig

POLL_S = 0.25
END_WAIT_S = 20.0  # for workers to save when the driver is told to end; who told it kills it soon after
UNWANTED_S = 60.0  # for a group that was just being started to come up and leave
# Read by the controller, where Ray Train takes them from this process.
RAY_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",  # its own 2 s is what a loss or an end would wait to be seen
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # the monitor watches; a second one would be a process more a group
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def train_on_workers(
    config: TrainConfig, request: Request, task: dict[str, Any], recorder: Recorder, progress: Progress,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Report:  # fmt: skip
    """Train to the end; gives the monitor's last report.

    Args:
        config: of the training.
        request: workers at most, and what each takes.
        task: fields of `Task`, but for the monitor.
        recorder: of the run.
        progress: told when it waits for machines.
        is_wanted: asked several times a second; the workers save and end once it says no.

    Raises:
        TrainingFailed: with the root cause, when trying again is over.
    """
    monitor = _start_monitor(config)
    folder = tempfile.mkdtemp(prefix="manta-ray-train-")
    try:
        trainer = _trainer(config, request, Task(**task, monitor=monitor), monitor, folder)
        return _Driver(trainer, monitor, recorder, progress, config, request).run(is_wanted)
    finally:
        ray.kill(monitor)
        shutil.rmtree(folder, ignore_errors=True)


def _start_monitor(config: TrainConfig) -> Any:
    """On this node, which is the driver's: where it goes, all goes."""
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 8}
    options["label_selector"] = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    actor: Any = ray.remote(**options)
    return actor(_MonitorActor).remote(config.max_failures, config.hang_timeout_s)


class _MonitorActor(Monitor):
    """The monitor with a clock of its own, asking Ray."""

    def __init__(self, max_failures: int, hang_timeout_s: float) -> None:
        super().__init__(max_failures, hang_timeout_s, machines)
        threading.Thread(target=self.watch, name="manta-watch", daemon=True).start()


def _trainer(config: TrainConfig, request: Request, task: Task, monitor: Any, folder: str) -> OurTrainer:
    """Ray Train keeps nothing of ours: its folder is a temporary one, and each driver's run has a name of its own."""
    os.environ.update({name: os.environ.get(name, value) for name, value in RAY_SETTINGS.items()})
    # Behind the monitor's own: who does not even answer to Ray is taken for dead.
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(config.hang_timeout_s + 60)
    use_gpu = request.gpus_each > 0
    worker: Any = train_worker
    loop_config: Any = task
    return OurTrainer(
        worker,
        train_loop_config=loop_config,
        torch_config=TorchConfig(
            backend="nccl" if use_gpu else "gloo", timeout_s=int(torch_timeout_s(config.hang_timeout_s))
        ),
        scaling_config=ScalingConfig(
            num_workers=request.count,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": request.cpus_each, **({"GPU": request.gpus_each} if use_gpu else {})},
        ),
        run_config=RunConfig(
            name=f"manta-{uuid.uuid4().hex[:12]}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=-1),
        ),
        monitor=monitor,
        request=request,
        min_workers=config.min_workers,
    )


class _Driver:
    """Waits in the calling thread, and fits in another one.

    In the main thread Ray Train would take over Ctrl-C and leave by sys.exit(0), as if all were well.
    """

    def __init__(
        self, trainer: OurTrainer, monitor: Any, recorder: Recorder, progress: Progress, config: TrainConfig,
        request: Request,
    ) -> None:  # fmt: skip
        self._trainer, self._monitor, self._recorder, self._progress = trainer, monitor, recorder, progress
        self._config, self._request = config, request
        self._waiting = Waiting(progress.note)
        self._error: BaseException | None = None
        self._ended = threading.Event()  # a join that a signal interrupts takes the thread for ended (CPython 3.11)
        self._thread = threading.Thread(target=self._fit, name="ray-train-fit", daemon=True)

    def run(self, is_wanted: Callable[[], bool]) -> Report:
        """Until the end, or until this process is told to end: then the workers save first."""
        self._thread.start()
        try:
            while not self._ended.is_set():
                if not is_wanted():
                    self._end()
                    # The controller would outlive this call, and begin with workers that nobody asked for any more.
                    self._ended.wait(UNWANTED_S)
                    return self._look()
                self._look()
                self._ended.wait(POLL_S)
        except (KeyboardInterrupt, SystemExit):
            self._end()
            raise
        report = self._look()
        if self._error is not None:
            raise self._failed(report) from self._error
        return report

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:  # handed over to the thread that waits
            self._error = error
        finally:
            self._ended.set()

    def _look(self) -> Report:
        report: Report = ray.get(self._monitor.pull.remote())
        self._recorder.take(report)
        self._waiting.look(self._missing(report))
        return report

    def _missing(self, report: Report) -> str:
        if report.waits is None:
            return ""
        fits, could_fit = report.waits
        each = f"{self._request.cpus_each:g} CPU"
        each += f" and {self._request.gpus_each:g} GPU" if self._request.gpus_each else ""
        taken = f" ({could_fit} if nothing else ran)" if could_fit > fits else ""
        there = f"{fits} fit now{taken}; it goes on when there is room"
        return f"{self._config.min_workers} worker(s) of {each} are needed, and {there}"

    def _end(self) -> None:
        """A second signal raises in here, and does not wait."""
        self._progress.note("saving before the end; again to stop at once")
        ray.get(self._monitor.end.remote("told to end"))
        deadline = time.monotonic() + END_WAIT_S
        # Where no workers run there is nothing to save, and a controller that waits for machines would not end.
        while not self._ended.is_set() and self._look().is_running and time.monotonic() < deadline:
            self._ended.wait(POLL_S)
        self._look()

    def _failed(self, report: Report) -> TrainingFailed:
        if report.stop is not None:
            return TrainingFailed(report.stop.message, report.stop.hint)
        assert self._error is not None
        cause = getattr(self._error, "controller_failure", self._error)
        text = " ".join(str(cause).split())[:500]
        return TrainingFailed(f"Ray Train failed: {type(cause).__name__}: {text}", TRACES)
