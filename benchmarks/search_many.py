"""Thousands of trials in one search: what each costs the driver, and what it leaves in its memory.

    python -m benchmarks.search_many [--trials 10000] [--samplers random,tpe] [--fuse] [--svg docs/search_many.svg]

The trials do as little as a trial can (iris, one layer of 4 units, one epoch of one step), and go through the whole
real search on this machine: two slots, study and journal forced to disk, judge, weights, progress. Growth exponents are
slopes in logarithms: 1 is linear. The second chart, <name>_memory.svg, is the driver's resident memory above that
after the first 500 trials.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import linear_regression
from typing import Any

import ray

from benchmarks.line_chart import write_chart
from benchmarks.prepare import exponent
from training.config import Experiment
from training.data.prepare import prepare
from training.progress import Silent, TrialDone
from training.run_folder import RunFolder
from training.search.search import search

SLOTS = 2
WARM = 500  # trials until everything is imported and buffers have their size
MARKS = (500, 1000, 2000, 3000, 5000, 7000, 10_000, 20_000, 50_000)


class Watch(Silent):
    """Seconds and megabytes after each trial."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.mb: list[float] = []
        self._began = time.perf_counter()

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Look."""
        self.seconds.append(time.perf_counter() - self._began)
        self.mb.append(resident_mb())

    @property
    def mb_per_1000(self) -> float:
        """Slope of the memory over the trials, without the first ones."""
        known = self.mb[min(WARM, len(self.mb) // 2) :]
        return linear_regression(range(len(known)), known).slope * 1000


def resident_mb() -> float:
    """Memory of this process that lies in RAM, in MB of 10^6 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    """Search with each sampler, print the table, draw the charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--samplers", default="random,tpe", help="by commas")
    parser.add_argument("--fuse", action="store_true", help="let trials be stacked")
    parser.add_argument("--svg", type=Path, help="where the charts go; without it none are drawn")
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        found = {
            name: watched(arguments.trials, name, fuse="auto" if arguments.fuse else False)
            for name in arguments.samplers.split(",")
        }
    finally:
        ray.shutdown()
    if arguments.svg:
        draw(found, arguments.svg)
    report(found, arguments.trials)


def watched(num_trials: int, sampler: str, fuse: bool | str = False) -> Watch:
    """One search."""
    with tempfile.TemporaryDirectory() as storage:
        experiment = Experiment.model_validate(
            {
                "name": f"many-{sampler}",
                "storage": storage,
                "data": {"source": "sklearn:iris", "target": "target"},
                "model": {"kind": "mlp", "hidden": [4]},
                "train": {"epochs": 1, "early_stopping": None, "global_batch_size": 128, "device": "cpu"},
                "search": {
                    "trials": num_trials, "concurrency": SLOTS, "sampler": sampler, "scheduler": "none", "fuse": fuse,
                    "space": {"train.peak_lr": {"log": [1e-4, 1e-1]}, "model.dropout": {"range": [0.0, 0.5]}},
                },
            }
        )  # fmt: skip
        prepared, run = prepare(experiment.data), RunFolder.of(experiment)
        run.open(experiment)
        watch = Watch()
        search(experiment, prepared, run, metric="accuracy", progress=watch, code_path="")
    return watch


def grown_mb(num_trials: int, sampler: str) -> float:
    """Megabytes by which the driver grows in 1,000 trials. Needs a running Ray."""
    return round(watched(num_trials, sampler).mb_per_1000, 2)


def at_marks(watch: Watch) -> list[int]:
    """Numbers of ended trials that are shown."""
    return [*(mark for mark in MARKS if mark < len(watch.seconds)), len(watch.seconds)]


def since_start(watch: Watch, num: int) -> float:
    """Seconds from the first trial's end to that of the trial with this number."""
    return watch.seconds[num - 1] - watch.seconds[0]


def report(found: dict[str, Watch], num_trials: int) -> None:
    """The table, then one JSON line."""
    summary: dict[str, Any] = {"trials": num_trials}
    for name, watch in found.items():
        marks = at_marks(watch)
        print(f"\n{name}: first trial after {watch.seconds[0]:.1f} s\n{'trials':>8} {'s':>9} {'ms/trial':>9} {'MB':>7}")
        before = 1
        for mark in marks:
            each = (watch.seconds[mark - 1] - watch.seconds[before - 1]) / max(mark - before, 1)
            print(f"{mark:8,} {since_start(watch, mark):9.1f} {each * 1e3:9.2f} {watch.mb[mark - 1]:7.0f}")
            before = mark
        growth = exponent({mark: since_start(watch, mark) for mark in marks})
        summary |= {
            f"{name}_time_growth": None if growth is None else round(growth, 3),
            f"{name}_ms_per_trial": round(since_start(watch, len(watch.seconds)) / len(watch.seconds) * 1e3, 2),
            f"{name}_driver_mb_per_1000_trials": round(watch.mb_per_1000, 2),
        }
    print("\n" + json.dumps(summary))


def draw(found: dict[str, Watch], path: Path) -> None:
    """Seconds over trials, and memory over trials."""
    seconds = {name: [(n, since_start(watch, n)) for n in at_marks(watch)] for name, watch in found.items()}
    write_chart(path, "Ended trials of one search", "trials", "seconds", seconds, guide="linear")
    grown = {
        name: [(n, max(watch.mb[n - 1] - watch.mb[WARM - 1], 0.1)) for n in at_marks(watch) if n > WARM]
        for name, watch in found.items()
    }
    if all(grown.values()):
        memory = path.with_name(f"{path.stem}_memory{path.suffix}")
        title = f"Driver's memory above that after {WARM} trials"
        write_chart(memory, title, "trials", "MB", grown, guide="linear", unit="MB")


if __name__ == "__main__":
    main()
