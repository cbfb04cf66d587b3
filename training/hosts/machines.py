"""What Ray knows about the cluster's nodes. The private calls of Ray that this needs are all here."""

import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import ray

from training.capacity import Request, largest_fit

logger = logging.getLogger(__name__)
PROBE_TIMEOUT_S = 1.0
HEAD = {"gcs_server", "raylet"}  # without these nothing goes on


@dataclass(frozen=True)
class Node:
    """One node that is alive."""

    node_id: str
    ip: str
    port: int  # of its raylet
    total: dict[str, float] = field(default_factory=dict)
    available: dict[str, float] = field(default_factory=dict)


def started_here() -> bool:
    """Whether this process has a Ray of its own, which ends with it; not one that it attached to."""
    node: Any = ray._private.worker._global_node
    return ray.is_initialized() and node is not None and bool(node.is_head())


def dead_head() -> str:
    """Which processes of the Ray that this process started have ended; empty where it lives, or is another's."""
    node: Any = ray._private.worker._global_node
    if not started_here():
        return ""
    return " and ".join(sorted({str(kind) for kind, _ in node.dead_processes()} & HEAD))


def has_autoscaler() -> bool:
    """Whether somebody starts nodes when asked to."""
    return ray._private.state.state.get_cluster_config() is not None


def draining() -> frozenset[str]:
    """Nodes that were told to go. What Ray Train's own watcher reads, which looks only every 5 s."""
    return frozenset(ray._private.state.state.get_draining_nodes())


def usable() -> list[Node]:
    """Nodes that are alive and stay."""
    going = draining()
    available = ray._private.state.available_resources_per_node()
    return [
        Node(
            node["NodeID"], node["NodeManagerAddress"], int(node["NodeManagerPort"]), dict(node["Resources"]),
            dict(available.get(node["NodeID"], {})),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in going
    ]  # fmt: skip


def unusable() -> set[str]:
    """Nodes that Ray counts as alive, and that go or do not answer."""
    return lost([node["NodeID"] for node in ray.nodes() if node["Alive"]])


def fit_now(request: Request, avoided: Collection[str] = ()) -> tuple[int, int]:
    """Workers that could start now, and that could if nothing else ran.

    Args:
        request: what each takes.
        avoided: nodes on which none may start.
    """
    nodes = [node for node in usable() if node.node_id not in avoided]
    free, whole = [node.available for node in nodes], [node.total for node in nodes]
    return largest_fit(free, request), largest_fit(whole, request)


def lost(node_ids: Collection[str]) -> set[str]:
    """Those that are gone, or go.

    Ray calls a node dead only after some missed health checks, so a raylet that answers no more counts as gone.
    """
    there = {node.node_id: node for node in usable()}
    return {name for name in node_ids if name not in there or not _answers(there[name])}


def _answers(node: Node) -> bool:
    try:
        socket.create_connection((node.ip, node.port), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        logger.warning("node %s on %s does not answer: %s", node.node_id[:8], node.ip, error)
        return False
    return True
