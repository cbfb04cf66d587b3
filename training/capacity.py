"""Can the cluster ever hold what is asked for? An error now beats an endless wait."""

from dataclasses import dataclass

import ray

from training.errors import CapacityError


@dataclass(frozen=True)
class Request:
    """Equal bundles: workers of a training, or one trial."""

    count: int
    cpus_each: float
    gpus_each: float = 0.0


def require(request: Request) -> None:
    """Raise CapacityError, with the largest number that fits, when the cluster can never hold the request."""
    running = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = max(largest_fit(running, request), largest_fit(_declared_nodes(request.count), request))
    if fitting >= request.count:
        return
    each = f"{request.cpus_each:g} CPU" + (f" and {request.gpus_each:g} GPU" if request.gpus_each else "")
    cpus, gpus = (sum(node.get(kind, 0) for node in running) for kind in ("CPU", "GPU"))
    most = max((node.get("CPU", 0) for node in running), default=0)
    smaller = f"--set train.cpus_per_worker={most:g} is the most that one node has"
    if request.gpus_each:
        smaller = "--set train.device=cpu trains without GPUs"
    raise CapacityError(
        f"{request.count} worker(s) of {each} each can never start here: "
        f"the cluster has {cpus:g} CPU and {gpus:g} GPU on {len(running)} node(s)",
        f"at most {fitting} fit: --set train.workers={fitting}" if fitting else smaller,
    )


def largest_fit(nodes: list[dict[str, float]], request: Request) -> int:
    """How many bundles of the request the nodes hold, each whole on one node."""
    return sum(_fit_on(node, request) for node in nodes)


def _fit_on(node: dict[str, float], request: Request) -> int:
    limits = [(node.get("CPU", 0.0), request.cpus_each), (node.get("GPU", 0.0), request.gpus_each)]
    return min(int(have / need + 1e-9) for have, need in limits if need > 0)


def _declared_nodes(enough: int) -> list[dict[str, float]]:
    """Nodes that an autoscaling cluster could have at its largest; no more than `enough` of each type."""
    config = ray._private.state.state.get_cluster_config()
    groups = config.node_group_configs if config is not None else []
    # A negative count means no limit.
    return [
        dict(group.resources)
        for group in groups
        for _ in range(enough if group.max_count < 0 else min(group.max_count, enough))
    ]
