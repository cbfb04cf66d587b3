"""Trainings on a cluster of several raylets, whose nodes and workers are taken away. One process, one cluster.

Run by test_cluster.py: `python -m tests.training.hosts.cluster_scenarios <folder> <scenario> ...`. Prints one JSON
object a scenario.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray._raylet
import torch
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from training.config import Experiment
from training.data.prepare import prepare
from training.fit import FitResult, fit
from training.progress import Live, Silent
from training.run_folder import RunFolder
from training.run_record import standing

RAYLET: Any = ray._raylet  # compiled, and without types
PREEMPTION = 2  # autoscaler_pb2.DrainNodeReason
STEP_S = 0.1
EPOCHS, STEPS = 10, 40


class Watched(Silent):
    """Collects what a person would see, and the newest step."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.live_now: Live | None = None

    def note(self, text: str) -> None:
        """Remember."""
        self.notes.append(text)

    def live(self, live: Live) -> None:
        """Remember."""
        self.live_now = live


class Training:
    """One training in a thread of its own, whose driver is this process."""

    def __init__(self, folder: Path, name: str, workers: Any = 2, **train: Any) -> None:
        self.folder, self.progress = folder / f"told-{name}", Watched()
        self.folder.mkdir()
        args = {"folder": str(self.folder), "seconds": STEP_S}
        self.experiment = Experiment.model_validate(
            {
                "name": name, "storage": str(folder), "data": {"source": "sklearn:iris", "target": "target"},
                "model": {"target": "tests.training.nets:Paced", "args": args},
                "train": {
                    "epochs": EPOCHS, "global_batch_size": 32, "early_stopping": None, "workers": workers,
                    "checkpoint": {"max_interval_s": 1.0}, **train,
                },
            }
        )  # fmt: skip
        self.run = RunFolder.of(self.experiment)
        self.run.open(self.experiment)
        self.result: FitResult | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()

    def _train(self) -> None:
        try:
            self.result = fit(
                self.experiment, prepare(self.experiment.data), self.run, name="own", metric="accuracy",
                progress=self.progress, code_path="",
            )  # fmt: skip
        except Exception as error:  # shown by whoever waits
            self.error = error

    def wait_for(self, step: int, workers: int = 2, timeout_s: float = 240) -> None:
        """Until so many steps were made, by so many workers now."""
        deadline = time.monotonic() + timeout_s
        while (live := self.progress.live_now) is None or live.step < step or live.num_workers != workers:
            assert self.thread.is_alive(), f"ended before step {step}: {self.error}"
            assert time.monotonic() < deadline, f"no step {step} with {workers} workers: {live} {self.progress.notes}"
            time.sleep(0.02)

    def done(self, timeout_s: float = 300) -> FitResult:
        """The outcome."""
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), f"still training: {self.progress.live_now} {self.progress.notes}"
        assert self.result is not None, str(self.error)
        return self.result

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Of the run's journal."""
        return list(self.run.journal.events(*kinds))

    def told(self) -> dict[str, Any]:
        """What a scenario says of it."""
        result = self.result
        return {
            "epochs": [event["epoch"] for event in standing(self.events("epoch"))],
            "events": self.events("preempted", "worker_lost", "worker_failed", "resumed", "hang"),
            "notes": self.progress.notes,
            "steps": result.num_steps if result else None,
            "lost_steps": result.lost_steps if result else None,
            "restarts": result.restarts if result else None,
            "workers": result.num_workers if result else None,
            "error": str(self.error) if self.error else None,
        }


class Machines:
    """A head without CPUs for workers, and nodes of one CPU each."""

    def __init__(self) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=self.cluster.address, logging_level=logging.ERROR, log_to_driver=False)

    def add(self) -> None:
        """One more node. From the main thread: it installs a signal handler."""
        self.nodes.append(self.cluster.add_node(num_cpus=1))

    def drain(self, node: Any, seconds: float = 60) -> None:
        """Notice, as a cloud gives it."""
        client = RAYLET.GcsClient(address=self.cluster.address)
        deadline_ms = int((time.time() + seconds) * 1000)
        accepted, why = client.drain_node(node.node_id, PREEMPTION, "spot", deadline_ms)
        assert accepted, why

    def kill(self, node: Any) -> None:
        """Gone without a word."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


def unbroken(machines: Machines, folder: Path) -> dict[str, Any]:
    """Nothing happens."""
    training = Training(folder, "unbroken")
    result = training.done()
    torch.save(result.weights, folder / "unbroken.pt")
    return training.told()


def drained(machines: Machines, folder: Path) -> dict[str, Any]:
    """A node is given notice, and another one comes."""
    training = Training(folder, "drained")
    training.wait_for(8)
    going = machines.nodes[0]
    machines.drain(going)
    machines.add()
    result = training.done()
    machines.kill(going)
    return training.told() | {"equal": _equal(result, folder)}


def killed(machines: Machines, folder: Path) -> dict[str, Any]:
    """A worker process is killed on a living node."""
    training = Training(folder, "killed")
    training.wait_for(12)
    pid = _pid_of_a_worker()
    os.kill(pid, signal.SIGKILL)
    return {**_done(training, folder), "pid": pid}


def node_lost(machines: Machines, folder: Path) -> dict[str, Any]:
    """A node is gone without notice; for some time there is no other one."""
    training = Training(folder, "node-lost", max_failures=0)
    training.wait_for(12)
    machines.kill(machines.nodes[0])
    deadline = time.monotonic() + 120
    while not any("waits for machines" in note for note in training.progress.notes):
        assert time.monotonic() < deadline, training.progress.notes
        time.sleep(0.2)
    machines.add()
    return _done(training, folder)


def elastic(machines: Machines, folder: Path) -> dict[str, Any]:
    """Shrinks to one worker when a node goes, and grows again when another one comes."""
    training = Training(folder, "elastic", {"min": 1, "max": 2}, epochs=60)
    training.wait_for(8)
    machines.kill(machines.nodes[0])
    training.wait_for(10, workers=1)
    machines.add()
    training.wait_for(12, workers=2)
    training.done()
    return training.told()


def hung(machines: Machines, folder: Path) -> dict[str, Any]:
    """Rank 1 stands still in its forward pass."""
    training = Training(folder, "hung", hang_timeout_s=6)
    training.wait_for(6)
    (training.folder / "hang-1").touch()
    return _done(training, folder)


def failing(machines: Machines, folder: Path) -> dict[str, Any]:
    """Rank 1 raises, at the same step each time."""
    training = Training(folder, "failing", max_failures=9)
    training.wait_for(6)
    (training.folder / "always-1").touch()
    training.thread.join(240)
    assert not training.thread.is_alive()
    return training.told() | {"log": training.run.path.joinpath("errors.log").read_text()}


def _done(training: Training, folder: Path) -> dict[str, Any]:
    result = training.done()
    return training.told() | {"equal": _equal(result, folder)}


def _equal(result: FitResult, folder: Path) -> bool:
    weights = torch.load(folder / "unbroken.pt", weights_only=True)
    return all(torch.equal(result.weights[name], weights[name]) for name in weights)


def _pid_of_a_worker() -> int:
    """Of one that trains now."""
    workers = [a for a in list_actors(filters=[("state", "=", "ALIVE")]) if a["class_name"] == "RayTrainWorker"]
    return int(workers[0]["pid"])


SCENARIOS: tuple[Callable[[Machines, Path], dict[str, Any]], ...] = (
    unbroken, drained, killed, node_lost, elastic, hung, failing,
)  # fmt: skip


def main() -> None:
    """The scenarios that are named, in the order given."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    machines = Machines()
    known = {scenario.__name__: scenario for scenario in SCENARIOS}
    try:
        for name in names:
            began = time.monotonic()
            told = known[name](machines, folder)
            line = json.dumps({"scenario": name, "seconds": time.monotonic() - began, **told})
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    finally:
        ray.shutdown()
        with contextlib.suppress(Exception):
            machines.cluster.shutdown()


if __name__ == "__main__":
    main()
