"""Searches on a cluster of several raylets, whose nodes are given notice and killed. One process, one cluster.

Run by test_cluster.py: `python -m tests.training.search.cluster_scenarios <folder> <scenario> ...`. Prints one JSON
object a scenario.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from tests.training.hosts.cluster_scenarios import Machines
from tests.training.search.playing import Heeding
from training.config import Experiment
from training.data.prepare import prepare
from training.run_folder import RunFolder
from training.search.search import search

TRIALS, EPOCHS, STEP_S = 6, 12, 0.05
TIMEOUT_S = 240.0


class Searching:
    """One search in a thread of its own, whose driver is this process."""

    def __init__(self, folder: Path, name: str, train: dict[str, Any] | None = None, **more: Any) -> None:
        train = {"epochs": EPOCHS, "global_batch_size": 16, "early_stopping": None, **(train or {})}
        paced = {"target": "tests.training.nets:Paced", "args": {"folder": str(folder), "seconds": STEP_S}}
        self.experiment = Experiment.model_validate(
            {
                "name": name, "storage": str(folder), "data": {"source": "sklearn:iris", "target": "target"},
                "model": paced, "train": {"checkpoint": {"max_interval_s": 2.0}, **train},
                "search": {
                    "trials": TRIALS, "sampler": "random", "scheduler": "none", "fuse": False,
                    "max_failures_per_trial": 0,  # a failure that counts would be the end of its trial
                    "space": {"train.peak_lr": {"log": [1e-4, 1e-1]}}, **more,
                },
            }
        )  # fmt: skip
        self.run, self.progress = RunFolder.of(self.experiment), Heeding()
        self.run.open(self.experiment)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._search, daemon=True)
        self.thread.start()

    def _search(self) -> None:
        try:
            prepared = prepare(self.experiment.data)
            search(self.experiment, prepared, self.run, metric="accuracy", progress=self.progress, code_path="")
        except BaseException as error:
            self.error = error

    def wait_until(self, what: Callable[[], bool]) -> None:
        """Until it is so. Raises TimeoutError."""
        deadline = time.monotonic() + TIMEOUT_S
        while not what():
            if not self.thread.is_alive() or time.monotonic() > deadline:
                raise TimeoutError(f"{self.error}; {self.progress.notes}; {len(self.events)} trials ended")
            time.sleep(0.1)

    def running(self) -> list[dict[str, Any]]:
        """Trials in slots now, as a person would see them."""
        live = self.run.trials / "live.json"
        return list(json.loads(live.read_text())["running"]) if live.exists() else []

    def slots(self) -> set[str]:
        """That train something, in its second epoch or later."""
        return {row["slot"] for row in self.running() if row["epoch"] > 1}

    @property
    def events(self) -> list[dict[str, Any]]:
        """Trials that have ended."""
        return list(self.run.journal.events("trial"))

    def told(self) -> dict[str, Any]:
        """What came of it, once it has ended."""
        self.thread.join(TIMEOUT_S)
        return {
            "error": str(self.error or ""), "alive": self.thread.is_alive(), "notes": self.progress.notes,
            "trials": [{key: event.get(key) for key in KEYS} for event in self.events],
        }  # fmt: skip


KEYS = ("trial", "state", "cause", "epochs", "attempts", "recomputed_s", "seconds", "slot", "curve")


def drained(machines: Machines, folder: Path) -> dict[str, Any]:
    """A node is given notice in the middle of its trials, and another one comes later."""
    return _drained(machines, Searching(folder, "drained"))


def stack_drained(machines: Machines, folder: Path) -> dict[str, Any]:
    """The same, where trials train as one stacked model."""
    return _drained(machines, Searching(folder, "stack-drained", {"epochs": 40}, fuse=True, lanes=3))


def _drained(machines: Machines, searching: Searching) -> dict[str, Any]:
    searching.wait_until(lambda: searching.slots() == {"slot-0", "slot-1"})
    going, began = machines.nodes[0], time.monotonic()
    machines.drain(going)
    searching.wait_until(lambda: searching.slots() != {"slot-0", "slot-1"})
    left_s = time.monotonic() - began
    machines.add()
    told = searching.told()
    machines.kill(going)
    return told | {"left_s": left_s}


def node_lost(machines: Machines, folder: Path) -> dict[str, Any]:
    """A node is gone without notice; another one comes only later."""
    searching = Searching(folder, "node-lost")
    searching.wait_until(lambda: searching.slots() == {"slot-0", "slot-1"})
    machines.kill(machines.nodes[0])
    time.sleep(3)
    machines.add()
    return searching.told()


def workers(machines: Machines, folder: Path) -> dict[str, Any]:
    """Trials of two workers on two nodes, one of which is given notice."""
    searching = Searching(folder, "workers", {"workers": 2, "epochs": 8}, trials=2)
    searching.wait_until(lambda: any(row["epoch"] > 1 for row in searching.running()))
    going = machines.nodes[0]
    machines.drain(going)
    machines.add()
    told = searching.told()
    machines.kill(going)
    return told


SCENARIOS: tuple[Callable[[Machines, Path], dict[str, Any]], ...] = (drained, stack_drained, node_lost, workers)


def main() -> None:
    """The scenarios that are named, in the order given."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    machines = Machines()
    known = {scenario.__name__: scenario for scenario in SCENARIOS}
    try:
        for name in names:
            began = time.monotonic()
            told = known[name](machines, folder)
            sys.stdout.write(json.dumps({"scenario": name, "took_s": time.monotonic() - began, **told}) + "\n")
            sys.stdout.flush()
    finally:
        ray.shutdown()
        with contextlib.suppress(Exception):
            machines.cluster.shutdown()


if __name__ == "__main__":
    main()
