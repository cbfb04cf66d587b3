"""What runs on every worker of Ray Train: build, resume, train to the end, and say in one line what went wrong."""

import datetime
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from training.config import Experiment
from training.data.stream.feeder import RayFeeder
from training.determinism import deterministic
from training.hosts.boundary import Boundary
from training.hosts.keeper import Keeper
from training.hosts.link import Link
from training.hosts.notices import Notices
from training.hosts.policies import WorkerStopped
from training.hosts.pulse import Pulse
from training.hosts.root_cause import describe
from training.hosts.session import HostSession
from training.hosts.vitals import Vitals
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model

# A rank that lost a peer waits before it says so: who lost it is then seen first, and the group ends with that one.
COLLATERAL_GRACE_S = 5.0
# Who stands still is named by the monitor, which can tell a compilation from a hang. Torch's own timeout is behind it.
BEHIND_MONITOR = 4.0


@dataclass(frozen=True)
class Task:
    """One training, as each worker gets it."""

    experiment: dict[str, Any]
    data: Any  # reference to (facts, rows, validation): once a node, shared by its workers, no copy
    feeder: Any
    metric: str
    code_path: str
    checkpoints: str  # where they are kept
    num_samples: int
    monitor: Any


class GlooExchange:
    """Ranks asking each other over their own group on the CPU, so that no GPU is waited for."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._numbers = torch.zeros(2, dtype=torch.int64)

    def __call__(self, order: int, every: int) -> tuple[int, int]:
        """The largest of each number over all ranks."""
        self._numbers[0], self._numbers[1] = order, every
        dist.all_reduce(self._numbers, dist.ReduceOp.MAX, group=self._group)
        first, second = self._numbers.tolist()
        return int(first), int(second)


def train_worker(task: Task) -> None:
    """Raises WorkerStopped, whatever happens: Ray Train must start the others again with this one."""
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    node = ray.get_runtime_context().get_node_id()
    me = Pulse(rank, world_size, node, ray.util.get_node_ip_address(), os.getpid())
    vitals, notices = Vitals(me, task.num_samples), Notices()
    link = Link(task.monitor, vitals, notices)
    link.start()
    try:
        _train(task, vitals, notices, link)
        vitals.phase = "done"
    except Exception as error:
        link.wake()  # the step that is lost with this group
        cause = describe(error, rank=rank, ip=me.ip, pid=me.pid, step=vitals.place.step)
        if cause.is_collateral:
            time.sleep(COLLATERAL_GRACE_S)
        raise WorkerStopped(cause) from None
    finally:
        link.close()


def _train(task: Task, vitals: Vitals, notices: Notices, link: Link) -> None:
    experiment = Experiment.model_validate(task.experiment)
    facts, train, validation = ray.get(task.data)
    config = experiment.train
    with deterministic(config), _session(task, experiment, vitals, notices, link) as session:
        inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
        model = build_model(experiment.model, inputs, config.seed, task.code_path, experiment.ensemble)
        feeder = RayFeeder(task.feeder) if task.feeder is not None else None
        trainer = Trainer(
            config, model, facts, train, validation, session, task.metric, feeder, code_path=task.code_path
        )
        run_to_end(trainer, session)


@contextmanager
def _session(
    task: Task, experiment: Experiment, vitals: Vitals, notices: Notices, link: Link
) -> Iterator[HostSession]:  # fmt: skip
    config, me = experiment.train, vitals.me
    group = _control_group(config.hang_timeout_s) if me.world_size > 1 else None
    writers = _control_group(config.hang_timeout_s) if me.world_size > 1 else None  # the thread that saves asks in it
    keeper = Keeper(task.checkpoints, config.checkpoint, link.saved, link.tell, me.rank, writers)
    exchange = GlooExchange(group) if group is not None else None
    boundary = Boundary(notices, keeper.is_due, exchange, rank=me.rank)
    device = ray.train.torch.get_device()
    try:
        yield HostSession(me.rank, me.world_size, device, boundary, keeper, vitals, link)
    finally:
        keeper.close()


def _control_group(hang_timeout_s: float) -> Any:
    timeout = datetime.timedelta(seconds=torch_timeout_s(hang_timeout_s))
    return dist.new_group(backend="gloo", timeout=timeout)


def torch_timeout_s(hang_timeout_s: float) -> float:
    """How long torch waits for a peer: longer than a peer may rightly compile or wait for its storage."""
    return max(BEHIND_MONITOR * hang_timeout_s, 1800.0)
