"""Ray Train's controller by our rules: which workers when, and what a failure means.

The base classes are internal to Ray Train, whose version is pinned. What they are replaced for, in Ray 2.60: its
elastic policy looks at the cluster every 20 s and counts nodes that are being drained, its fixed policy waits up to
60 s in one blocking call for workers that do not fit, and its failure policy counts all crashes of a run together and
cannot tell a node that was lost from a worker that crashed.
"""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any, cast

import ray
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision, ScalingDecision, ScalingPolicy
from ray.train.v2.api.config import FailureConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from training.capacity import Request
from training.hosts import machines
from training.hosts.judge import Death
from training.hosts.pulse import Pulse
from training.hosts.root_cause import Cause, describe

logger = logging.getLogger(__name__)
NODE_LABEL = "ray.io/node-id"
LOOK_EVERY_S = 0.5  # for machines, while there are not enough
GROW_LOOK_EVERY_S = 5.0
GROW_AFTER_LOOKS = 2  # a node that has just come may be somebody else's in a moment
SETTLE_S = 3.0  # for Ray to give back what an ended group held, before fewer workers are started than could fit
ANSWER_TIMEOUT_S = 60.0
# Ray's 30 s: how long the ends of torch's process group are waited for, also on nodes that are gone.
TORCH_SHUTDOWN = ("TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S", "3")


class WorkerStopped(Exception):
    """What a worker raises: its cause as text, so that no class of the user's own must be known elsewhere."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class NotWanted(Exception):
    """The training was told to end while it had no workers."""


class OurTrainer(TorchTrainer):
    """A TorchTrainer whose controller asks the monitor."""

    def __init__(self, *args: Any, monitor: Any, request: Request, min_workers: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._monitor, self._request, self._min_workers = monitor, request, min_workers

    def _create_default_callbacks(self) -> list[Any]:
        # Before Ray Train's own: one of them sets up torch's group. What fails there must be known already, or its
        # room would never be given back, and the next group would wait for it for ever.
        return [TellStart(self._monitor), *super()._create_default_callbacks()]

    def _initialize_and_run_controller(self, **kwargs: Any) -> Any:
        config = cast("ScalingConfig", self.scaling_config)  # typed as that of V1
        kwargs["scaling_policy"] = FittingWorkers(config, self._monitor, self._request, self._min_workers)
        kwargs["failure_policy"] = AskMonitor(self._monitor)
        return super()._initialize_and_run_controller(**kwargs)


class FittingWorkers(ScalingPolicy):
    """Start as many workers as fit on nodes that stay, between the fewest and the most; grow when more fit."""

    def __init__(self, config: ScalingConfig, monitor: Any, request: Request, min_workers: int) -> None:
        super().__init__(config)
        self._monitor, self._request, self._min_workers = monitor, request, min_workers
        self._waits_since: float | None = None
        self._looked_at = time.monotonic()
        self._num_looks = 0
        self._asks_autoscaler = False
        self._avoided: set[str] = set()

    def after_controller_start(self, train_run_context: Any) -> None:
        """Only an autoscaler need be told what is wanted."""
        os.environ.setdefault(*TORCH_SHUTDOWN)
        self._asks_autoscaler = machines.has_autoscaler()
        if self._asks_autoscaler:
            super().after_controller_start(train_run_context)

    async def before_controller_shutdown(self) -> None:
        """The last group may have failed in its start: then nobody but us gives its room back to the cluster."""
        await super().before_controller_shutdown()
        _release()

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Begin with what is there now, or wait."""
        self._ask_for_nodes()
        _release()
        now = time.monotonic()
        self._waits_since = self._waits_since or now
        try:
            self._avoided = machines.unusable()
            fits, could_fit = machines.fit_now(self._request, self._avoided)
        except Exception:  # the GCS may be out of reach for a moment; the controller must not end for it
            logger.exception("could not ask Ray which nodes there are")
            fits = could_fit = 0
        num_workers, could_be = min(fits, self._request.count), min(could_fit, self._request.count)
        settles = num_workers < could_be and now - self._waits_since < SETTLE_S
        if num_workers < self._min_workers or settles:
            self._tell_waiting((fits, could_fit) if num_workers < self._min_workers else None)
            time.sleep(LOOK_EVERY_S)  # the controller's loop would turn without a pause
            return NoopDecision()
        self._waits_since, self._num_looks = None, 0
        self._tell_waiting(None)
        return ResizeDecision(num_workers, self.scaling_config._resources_per_worker_not_none)

    def _tell_waiting(self, fits: tuple[int, int] | None) -> None:
        """A driver that lives on would otherwise have workers one day that it no longer wants. Raises NotWanted."""
        if why := ray.get(self._monitor.waiting.remote(fits), timeout=ANSWER_TIMEOUT_S):
            raise NotWanted(why)

    def on_controller_start_worker_group(self, *, scaling_config: Any, num_workers: int) -> dict[str, str] | None:
        """Keep workers off nodes that Ray still counts as alive: they would wait there for half a minute."""
        return {NODE_LABEL: f"!in({','.join(sorted(self._avoided))})"} if self._avoided else None

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        """Where more would fit for some time, have the workers save and leave; they begin again as more."""
        self._ask_for_nodes()
        running, now = worker_group_state.num_workers, time.monotonic()
        if running >= self._request.count or now - self._looked_at < GROW_LOOK_EVERY_S:
            return NoopDecision()
        self._looked_at = now
        try:
            more = machines.fit_now(self._request)[0]
        except Exception:
            logger.exception("could not ask Ray which nodes there are")
            return NoopDecision()
        self._num_looks = self._num_looks + 1 if more else 0
        if self._num_looks >= GROW_AFTER_LOOKS:
            self._num_looks = 0
            self._monitor.grow.remote(min(running + more, self._request.count))
        return NoopDecision()

    def _get_num_workers_for_resource_request(self) -> int:
        return self._request.count

    def _ask_for_nodes(self) -> None:
        if self._asks_autoscaler:
            self._maybe_send_resource_request()


def _release() -> None:
    """Give back what the group held that ended. Ray Train would keep it until it begins the next one, which waits for
    that very room; and Ray moves what was held on a lost node to the node that comes in its place."""
    while LAST_GROUP:
        LAST_GROUP.pop().get_worker_group_state().placement_group_handle.shutdown()


class AskMonitor(FailurePolicy):
    """The monitor knows what the workers did last, and keeps the count."""

    def __init__(self, monitor: Any) -> None:
        super().__init__(FailureConfig(max_failures=-1))
        self._monitor = monitor

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Whether to start another group."""
        causes, deaths, start_error = told(training_failed_error)
        goes_on = ray.get(self._monitor.failed.remote(causes, deaths, start_error), timeout=ANSWER_TIMEOUT_S)
        return FailureDecision.RETRY if goes_on else FailureDecision.RAISE


def told(error: TrainingFailedError) -> tuple[list[Cause], list[Death], str]:
    """Ray Train's error as ours: what ranks raised, which died, and why a group could not begin."""
    if isinstance(error, ControllerError):
        return [], [], _with_causes(error.controller_failure)
    failures: Mapping[int, BaseException] = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    causes = [raised.cause for raised in failures.values() if isinstance(raised, WorkerStopped)]
    deaths = [
        _death(rank, raised.health_check_failure)
        for rank, raised in failures.items()
        if isinstance(raised, WorkerHealthCheckFailedError)
    ]
    known = (WorkerStopped, WorkerHealthCheckFailedError)
    others = [(rank, raised) for rank, raised in failures.items() if not isinstance(raised, known)]
    causes += [describe(raised, rank=rank, ip="?", pid=0, step=-1) for rank, raised in others]
    return causes, deaths, "" if failures else str(error)


def _with_causes(error: BaseException) -> str:
    """Ray Train's sentence, then what it came from, which says more: the last line is the one that is shown."""
    said, cause = [str(error)], error.__cause__ or error.__context__
    while cause is not None:
        said.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    return "\n".join(said)


def _death(rank: int, failure: Exception) -> Death:
    return Death(rank, str(failure), isinstance(failure, RayActorError) and bool(failure.preempted))


LAST_GROUP: list[Any] = []  # the one that runs, or ran last; in the controller's process


class TellStart(WorkerGroupCallback):
    """Tells the monitor where the workers of a new group are."""

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Before they begin, so that no pulse comes from one that is unknown."""
        workers = worker_group.get_workers()
        group = [
            Pulse(
                worker.distributed_context.world_rank, len(workers), worker.metadata.node_id, worker.metadata.node_ip,
                worker.metadata.pid,
            )
            for worker in workers
        ]  # fmt: skip
        LAST_GROUP[:] = [worker_group]
        ray.get(self._monitor.started.remote(group), timeout=ANSWER_TIMEOUT_S)

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:
        """Nothing is held any more."""
        LAST_GROUP.clear()
