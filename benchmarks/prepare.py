"""Seconds from a table on disk to the first batch of training rows, as the table grows.

    python -m benchmarks.prepare [--rows 100000 1000000 10000000] [--adult adult-train.csv] [--plot docs/prepare.svg]

Read, check, fingerprint, split, fit, transform, and gather one shuffled batch of 1,024 rows, with the settings that
an experiment has by default; imports are not counted. The tables are like Adult (6 numeric, 8 categorical columns, a
few values missing), once as Parquet and once as CSV, made anew in a temporary folder, so the operating system still
holds them in memory. Every measurement has a process of its own, and its peak memory is that of the whole process.

The last line is JSON: seconds and peak memory by format and rows, and the exponent of growth: seconds grow as rows to
that power, 1 is linear.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import adult_like
from benchmarks.line_chart import write_chart
from benchmarks.stages import OTHER, STAGES

ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
    "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
)  # fmt: skip
FORMATS = ("parquet", "csv")
ADULT = "adult"  # the real one
BATCH_ROWS = 1024

Measured = dict[str, Any]  # total_s, stages, rows, peak_mb: what `measure_here` prints


def main() -> None:
    """Make the tables, measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000], help="table lengths")
    parser.add_argument("--adult", type=Path, help="the real Adult table, a CSV file without a header line")
    parser.add_argument("--repeats", type=int, default=1, help="measurements of each; the median counts")
    parser.add_argument("--plot", type=Path, help="SVG file to draw")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # data config as JSON: one measurement, in this process
    arguments = parser.parse_args()
    if arguments.measure:
        measure_here(json.loads(arguments.measure))
        return
    found = measure_all(sorted(arguments.rows), arguments.adult, arguments.repeats)
    report(found)
    if arguments.plot:
        plot(found, arguments.plot)


def measure_all(lengths: list[int], adult: Path | None, repeats: int) -> dict[tuple[str, int], Measured]:
    """Every table in a process of its own, by format and rows."""
    found = {}
    header()
    if adult:
        config = {"source": str(adult.resolve()), "names": ADULT_COLUMNS}
        found[ADULT, 0] = measure(config, repeats)
        show(ADULT, found[ADULT, 0])
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in lengths:
            for ending in FORMATS:
                path = Path(folder) / f"table.{ending}"
                adult_like.write(path, num_rows)
                found[ending, num_rows] = measure({"source": str(path)}, repeats)
                show(ending, found[ending, num_rows])
                path.unlink()
    return found


def measure(source: dict[str, Any], repeats: int) -> Measured:
    """The median run of a few."""
    config = {"target": "income", "missing": [adult_like.MARKER], "loading": "memory", **source}
    command = [sys.executable, "-m", "benchmarks.prepare", "--measure", json.dumps(config)]
    runs = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(repeats)]
    median = statistics.median_low(run["total_s"] for run in runs)
    return next(run for run in runs if run["total_s"] == median)


def measure_here(config: dict[str, Any]) -> None:
    """Prepare a table and gather a batch; print what it took as JSON."""
    import time  # noqa: PLC0415  all that is not to be counted stands above the clock

    import torch  # noqa: PLC0415

    from benchmarks.stages import StageWatch  # noqa: PLC0415
    from training.data.batches import sample_order  # noqa: PLC0415
    from training.data.config import DataConfig  # noqa: PLC0415
    from training.data.memory import Rows, contiguous  # noqa: PLC0415
    from training.data.prepare import prepare  # noqa: PLC0415

    data = DataConfig.model_validate(config)
    began = time.perf_counter()
    with StageWatch() as watch:
        train = prepare(data).train
        rows = Rows.of(contiguous(train), torch.device("cpu"))
        first = torch.from_numpy(sample_order(len(train), data.split.seed, 0)[:BATCH_ROWS]).long()
        tensors, target = rows.fetch(first)
    total_s = time.perf_counter() - began
    assert len(target) == min(BATCH_ROWS, len(train))
    assert all(len(tensor) == len(target) for tensor in tensors)
    stages = {stage: round(seconds, 4) for stage, seconds in watch.seconds.items()}
    print(json.dumps({"total_s": total_s, "stages": stages, "rows": len(train), "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Most memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent's memory into the child's `ru_maxrss`
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def header() -> None:
    """The machine, and the heads of the table's columns."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n")
    stages = "".join(f"{stage:>12}" for stage in (*STAGES, OTHER))
    print(f"{'table':<9}{'training rows':>14}{'total s':>9}{stages}{'peak MB':>9}")


def show(name: str, measured: Measured) -> None:
    """One line of the table."""
    stages = "".join(f"{measured['stages'].get(stage, 0.0):12.3f}" for stage in (*STAGES, OTHER))
    print(
        f"{name:<9}{measured['rows']:>14,}{measured['total_s']:>9.2f}{stages}{measured['peak_mb']:>9,.0f}", flush=True
    )


def report(found: dict[tuple[str, int], Measured]) -> None:
    """The growth in words, and everything as one line of JSON."""
    summary: dict[str, Any] = {}
    for (name, num_rows), measured in found.items():
        if name == ADULT:
            summary["adult_s"] = round(measured["total_s"], 3)
            continue
        summary.setdefault(f"{name}_s", {})[num_rows] = round(measured["total_s"], 3)
        summary.setdefault(f"{name}_peak_mb", {})[num_rows] = round(measured["peak_mb"])
    for ending in FORMATS:
        if (growth := exponent(summary[f"{ending}_s"])) is not None:
            summary[f"{ending}_growth"] = round(growth, 3)
            print(f"\n{ending}: seconds grow as rows to the power of {growth:.2f}", end="")
    print("\n\n" + json.dumps(summary))


def exponent(seconds: dict[int, float]) -> float | None:
    """Slope of the line through the logarithms; None for a single point."""
    if len(seconds) < 2:
        return None
    xs, ys = [math.log(n) for n in seconds], [math.log(s) for s in seconds.values()]
    return statistics.linear_regression(xs, ys).slope


def plot(found: dict[tuple[str, int], Measured], path: Path) -> None:
    """Seconds over rows, one line a format."""
    names = {"parquet": "Parquet", "csv": "CSV"}
    lines = {
        names[ending]: [(n, run["total_s"]) for (name, n), run in found.items() if name == ending]
        for ending in reversed(FORMATS)
    }
    write_chart(path, "Table to first batch, an Adult-like table", "rows", "seconds", lines, guide="linear")


if __name__ == "__main__":
    main()
