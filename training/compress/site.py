"""Where forms are made and measured: in this process, or as tasks of Ray on nodes of the kind that will serve them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import ray
import torch

from training.capacity import Request, require
from training.compress_config import CompressConfig, LabelTarget
from training.errors import CapacityError
from training.hosts.machines import has_autoscaler, started_here

Result = TypeVar("Result")


class Site(Protocol):
    """Does work, one piece or several."""

    def share(self, value: Any) -> Any:
        """Something large that several pieces of work are given: pass on what this returns."""

    def run(self, work: Callable[..., Result], calls: Sequence[tuple[Any, ...]], *, num_cpus: float) -> list[Result]:
        """`work(*arguments)` of each call, in their order."""


class Here:
    """This process, one piece after the other."""

    def share(self, value: Any) -> Any:
        """The thing itself."""
        return value

    def run(self, work: Callable[..., Result], calls: Sequence[tuple[Any, ...]], *, num_cpus: float) -> list[Result]:
        """One after the other."""
        return [work(*arguments) for arguments in calls]


class OnNodes:
    """Nodes of the target's kind. A task whose node is lost runs again on another."""

    def __init__(self, config: CompressConfig) -> None:
        self._gpus = 1.0 if config.device == "gpu" else 0.0
        self._labels = dict(config.target.label) if isinstance(config.target, LabelTarget) else {}

    def share(self, value: Any) -> Any:
        """Its place in the object store, from which a node fetches it once."""
        return ray.put(value)

    def run(self, work: Callable[..., Result], calls: Sequence[tuple[Any, ...]], *, num_cpus: float) -> list[Result]:
        """All at once, as far as there is room. Raises CapacityError where there can never be any."""
        self.require_room(num_cpus)
        task: Any = ray.remote(max_retries=3)(work)
        task = task.options(num_cpus=num_cpus, num_gpus=self._gpus, label_selector=self._labels or None)
        return list(ray.get([task.remote(*arguments) for arguments in calls]))

    def require_room(self, num_cpus: float) -> None:
        """Raise CapacityError where no node can ever do it."""
        require(Request(1, num_cpus, self._gpus))
        if not self._labels or has_autoscaler():  # which may start such a node
            return
        nodes = [node for node in ray.nodes() if node["Alive"]]
        fitting = [node["Resources"] for node in nodes if _has(node.get("Labels", {}), self._labels)]
        if any(node.get("CPU", 0) >= num_cpus and node.get("GPU", 0) >= self._gpus for node in fitting):
            return
        wanted = ", ".join(f"{key}={value}" for key, value in self._labels.items())
        raise CapacityError(
            f"compress.target: no node with {wanted} has {num_cpus:g} CPU"
            + (f" and {self._gpus:g} GPU" if self._gpus else "")
            + f": {len(fitting)} of {len(nodes)} node(s) have the label",
            f"labels there are: {_labels_of(nodes)}; `ray start --labels {wanted.replace(', ', ',')}` gives them",
        )


def site_of(config: CompressConfig, *, learns: bool = False) -> Site:
    """Where to work. With `learns` also a Ray of this machine is of use, as trainings run side by side.

    Raises:
        CapacityError: there is no such machine.
    """
    if ray.is_initialized() and (learns or not started_here() or config.device == "gpu"):
        return OnNodes(config)
    if isinstance(config.target, LabelTarget):
        raise CapacityError(
            f"compress.target names nodes with labels ({', '.join(config.target.label)}), and there is no cluster",
            "--address names one; or set compress.target: cpu",
        )
    if config.device == "gpu" and not torch.cuda.is_available():
        raise CapacityError(
            "compress.target is gpu, and torch sees no GPU here", "--set compress.target=cpu, or --address of a cluster"
        )
    return Here()


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _labels_of(nodes: Sequence[Mapping[str, Any]]) -> str:
    found = {f"{key}={value}" for node in nodes for key, value in node.get("Labels", {}).items()}
    return ", ".join(sorted(each for each in found if "node-id" not in each)) or "none"
