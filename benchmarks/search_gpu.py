"""Trials an hour on one GPU: stacked trials, one trial at a time, and eight that share the GPU.

    python -m benchmarks.search_gpu [--trials 64] [--rows one,eight,fused] [--hidden 256] [--tiny]

    one      a trial at a time has the GPU (`search.fuse: false`)
    eight    eight at a time, an eighth of the GPU each (`search.gpus_per_trial: 0.125`)
    fused    one stack of trials (`search.fuse: auto`, the number of lanes found by measuring)

An MLP on digits, nothing stopped early. `marginal` is seconds a trial without start-up, as in `benchmarks.search`;
utilisation is what nvidia-smi says twice a second between the first trial's end and the last one's, the mean. The last
The last line is JSON. Without a GPU it says so and claims nothing; `--tiny` runs all of it on the CPU in small, two for
eight, to see that it runs.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
import torch

from benchmarks.search_rows import METRIC, first_of_each_slot, marginal_s
from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.progress import Silent, TrialDone
from training.run_folder import RunFolder
from training.search.search import search

ROWS = ("one", "eight", "fused")
SAMPLE_EVERY_S = 0.5
BATCHES = 4  # stacks, at least, that follow each other


@dataclass(frozen=True)
class Row:
    """What one way took."""

    total_s: float
    marginal_s: float
    lanes: int
    used_percent: float | None  # of the GPU


class Utilisation(threading.Thread):
    """Asks nvidia-smi now and then, from the first look that is wanted on."""

    def __init__(self) -> None:
        super().__init__(name="gpu-utilisation", daemon=True)
        self._ends = threading.Event()
        self._seen: list[tuple[float, float]] = []

    def run(self) -> None:
        """Until stopped."""
        while not self._ends.wait(SAMPLE_EVERY_S):
            asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
            said = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout
            self._seen.append((time.perf_counter(), float(said.strip())))

    def stop(self) -> None:
        """Ask no more."""
        self._ends.set()
        self.join()

    def mean(self, start: float, end: float) -> float | None:
        """Percent between two moments; None where nobody looked."""
        inside = [percent for moment, percent in self._seen if start <= moment <= end]
        return statistics.mean(inside) if inside else None


class Timed(Silent):
    """When each trial ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


def main() -> None:
    """Run the rows, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64, help="of the unstacked rows")
    parser.add_argument("--fused-trials", type=int, default=1024, help="of the stacked row")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256, help="width of both layers")
    parser.add_argument("--rows", default=",".join(ROWS), help="what to run, by commas")
    parser.add_argument("--tiny", action="store_true", help="in small, on the CPU: no figure of it means anything")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.tiny:
        print("no CUDA device here: nothing was measured")
        print(json.dumps({"gpu": None}))
        return
    if arguments.tiny:
        arguments.trials, arguments.fused_trials, arguments.epochs, arguments.hidden = 6, 24, 2, 16
    name = "none, in small" if arguments.tiny else torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}")
    gpus = {} if arguments.tiny else {"num_gpus": 1}
    ray.init(
        address="local", num_cpus=2 if arguments.tiny else 8, include_dashboard=False, logging_level="ERROR",
        log_to_driver=False, **gpus,
    )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as storage:
            prepared = prepare(make_experiment("one", arguments, storage).data)
            rows = {row: measured(row, arguments, storage, prepared) for row in arguments.rows.split(",")}
    finally:
        ray.shutdown()
    report(rows, None if arguments.tiny else name)


def make_experiment(row: str, arguments: argparse.Namespace, storage: str) -> Experiment:
    """The search of one row."""
    num_slots = {"one": 1, "eight": 2 if arguments.tiny else 8, "fused": 1}[row]
    share = {} if arguments.tiny else {"gpus_per_trial": 1 / num_slots}
    # Stacks follow each other, or there would be no rate without the start.
    fused = {"fuse": "auto", "lanes": max(2, arguments.fused_trials // BATCHES)} if row == "fused" else {"fuse": False}
    return Experiment.model_validate(
        {
            "name": row,
            "storage": storage,
            "data": {"source": "sklearn:digits", "target": "target"},
            "model": {"kind": "mlp", "hidden": [arguments.hidden] * 2},
            "train": {
                "epochs": arguments.epochs, "early_stopping": None, "device": "cpu" if arguments.tiny else "gpu",
            },
            "search": {
                "trials": arguments.fused_trials if row == "fused" else arguments.trials, "concurrency": num_slots,
                "sampler": "random", "scheduler": "none",
                "space": {"train.peak_lr": {"log": [1e-3, 1e-2]}, "model.dropout": {"range": [0.0, 0.3]}},
                **share, **fused,
            },
        }
    )  # fmt: skip


def measured(row: str, arguments: argparse.Namespace, storage: str, prepared: Prepared) -> Row:
    """One search."""
    experiment, timed, used = make_experiment(row, arguments, storage), Timed(), Utilisation()
    run = RunFolder.of(experiment)
    run.open(experiment)
    if not arguments.tiny:
        used.start()
    began = time.perf_counter()
    try:
        search(experiment, prepared, run, metric=METRIC, progress=timed, code_path="")
    finally:
        if not arguments.tiny:
            used.stop()
    total_s = time.perf_counter() - began
    lanes = max(event["lanes"] for event in run.journal.events("trial"))
    first = first_of_each_slot(run)
    each = marginal_s(timed.ended, first)
    found = Row(total_s, each, lanes, used.mean(timed.ended[first - 1], timed.ended[-1]))
    print(f"  {row}: {len(timed.ended)} trials in {total_s:.1f} s, then {each:.4f} s each, {lanes} lanes", flush=True)
    return found


def report(rows: dict[str, Row], gpu: str | None) -> None:
    """The table, then one JSON line."""
    print(f"\n{'':8} {'lanes':>6} {'marginal s':>11} {'trials/h':>10} {'GPU used':>9}")
    for name, row in rows.items():
        used = "" if row.used_percent is None else f"{row.used_percent:.0f}%"
        print(f"{name:8} {row.lanes:6} {row.marginal_s:11.4f} {3600 / row.marginal_s:10,.0f} {used:>9}")
    summary: dict[str, Any] = {"gpu": gpu}
    for name, row in rows.items():
        used_percent = None if row.used_percent is None else round(row.used_percent, 1)
        summary[name] = {
            "trials_per_hour": round(3600 / row.marginal_s), "gpu_used_percent": used_percent, "lanes": row.lanes,
        }  # fmt: skip
    for peer in ("one", "eight"):
        if gpu is not None and "fused" in rows and peer in rows:
            summary[f"fused_vs_{peer}"] = round(rows[peer].marginal_s / rows["fused"].marginal_s, 2)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
