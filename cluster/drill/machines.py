"""A cluster on this machine whose nodes can be told to go, and can be killed. Each node is a raylet of its own."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from cluster.errors import ClusterError
from cluster.signals import exit_on_sigterm, uninterrupted

# Neither says to a type checker what it has.
RAYLET: Any = ray._raylet
PROTOCOL: Any = autoscaler_pb2
OBJECT_STORE_BYTES = 256 * 2**20  # of each node; taken from memory only as it is used
TRAIN_WORKER = "RayTrainWorker"  # class of the actors that Ray Train's workers are
PROC = Path("/proc")


@dataclass(frozen=True)
class TrainWorker:
    """A training process."""

    pid: int
    node_id: str


@contextlib.contextmanager
def machines(num_nodes: int, cpus_per_node: float, *, verbose: bool) -> Iterator["Machines"]:
    """A head without CPUs and so many nodes, for the length of a `with` block."""
    # To load Ray has set its loggers anew. Of a cluster that was just killed it finds a port still taken: no matter.
    logging.getLogger("ray").setLevel(logging.INFO if verbose else logging.CRITICAL)
    cluster = Machines(cpus_per_node)
    try:
        cluster.begin(num_nodes)
        yield cluster
    finally:
        with uninterrupted():
            cluster.end()


class Machines:
    """The nodes there are. Every method runs in the main thread: Ray ends a raylet with the thread that started it."""

    def __init__(self, cpus_per_node: float) -> None:
        self._cpus = cpus_per_node
        self._cluster: Any = None
        self._gcs: Any = None
        self._nodes: list[Any] = []  # oldest first

    @property
    def address(self) -> str:
        """For `--address`."""
        return str(self._cluster.address)

    @property
    def node_ids(self) -> list[str]:
        """Of the nodes that can hold workers, oldest first; those that were told to go among them."""
        return [node.node_id for node in self._nodes]

    def begin(self, num_nodes: int) -> None:
        """Start head and nodes."""
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        self._cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        self._gcs = RAYLET.GcsClient(address=self.address)
        for _ in range(num_nodes):
            self.add()

    def add(self) -> str:
        """Start one node; gives its id."""
        node = self._cluster.add_node(num_cpus=self._cpus, object_store_memory=OBJECT_STORE_BYTES, wait=False)
        signal.signal(signal.SIGTERM, exit_on_sigterm)  # Ray's handler would drain each node for half a minute
        self._nodes.append(node)
        return str(node.node_id)

    def notify(self, node_id: str, notice_s: float) -> None:
        """Tell a node that it goes, as the watcher of a cloud's notices does. Raises ClusterError if Ray refuses."""
        reason = PROTOCOL.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + notice_s) * 1000)
        accepted, why = self._gcs.drain_node(node_id, reason, "drill: this machine will be taken back", deadline_ms)
        if not accepted:
            raise ClusterError(f"Ray did not take the notice for node {node_id[:8]}: {why}")

    def kill(self, node_id: str) -> int:
        """SIGKILL everything on a node at once; gives how many processes that were."""
        node = next(node for node in self._nodes if node.node_id == node_id)
        raylet = node.all_processes["raylet"][0].process.pid
        pids = [raylet, *_below(raylet)]
        for pid in pids:
            _kill(pid)
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)
        return len(pids)

    def train_workers(self) -> list[TrainWorker]:
        """The processes that train now."""
        actors = self._cluster.global_state.actor_table(None, actor_state_name="ALIVE").values()
        found = [actor for actor in actors if TRAIN_WORKER in actor["ActorClassName"] and actor["Pid"]]
        return [TrainWorker(actor["Pid"], actor["Address"]["NodeID"]) for actor in found]

    def kill_all(self) -> None:
        """SIGKILL the whole cluster, the head too."""
        for node in [*self._nodes, self._cluster.head_node]:
            for infos in node.all_processes.values():
                for info in infos:
                    for pid in (info.process.pid, *_below(info.process.pid)):
                        _kill(pid)
        self.end()

    def end(self) -> None:
        """Stop what there is of it."""
        if self._cluster is None:
            return
        for node in self._nodes:
            self._cluster.remove_node(node, allow_graceful=False)
        self._nodes = []
        if self._cluster.head_node is not None:
            self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)
        self._cluster = None


def kill_worker(worker: TrainWorker) -> None:
    """SIGKILL one training process."""
    _kill(worker.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended on its own
        os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """Every process that descends from one, found before any of them is killed: orphans have another parent."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            # "pid (name) state parent ...": the name may hold blanks, so count from its closing bracket.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
