"""A table three times larger than a process may have memory, streamed through an epoch of shuffled batches.

    python -m benchmarks.stream [--limit-mb 600] [--window-mb 32]

The table is Parquet of 32 float columns, made in a temporary folder; its size counts as decoded to float32. A process
of its own surveys it, fits the transforms and goes through an epoch, as training does without the model. The kernel
refuses that process more than the limit of private memory (RLIMIT_DATA: heap, anonymous mappings and thread stacks,
imports included), so the figure is not only looked at. The same process is then asked to load the table into memory
under the same limit, which must fail.

The last line is JSON: limit, table and peak memory in MB, and rows a second of the epoch.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.batches import LoaderState
from training.data.config import DataConfig
from training.data.loading import open_loader
from training.data.prepare import prepare
from training.data.stream.prepare import prepare_stream
from training.session import PlainSession
from training.train_config import TrainConfig

NUM_COLUMNS = 32
GROUP_ROWS = 50_000
BATCH_ROWS = 1024
LARGER = 3.0  # the table over the limit
# One heap and one thread: what C libraries reserve for further ones would count as taken.
LEAN = {
    "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"
}  # fmt: skip


def main() -> None:
    """Make the table, and send it through a process that may not hold it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-mb", type=int, default=600, help="private memory that the process may have")
    parser.add_argument("--window-mb", type=int, default=32, help="data.window_mb")
    parser.add_argument("--consume", choices=("stream", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.consume is not None:
        consume(arguments.table, arguments.consume, arguments.limit_mb, arguments.window_mb)
        return
    num_rows = int(LARGER * arguments.limit_mb * 1e6) // (4 * NUM_COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        write_table(table, num_rows)
        found = run(table, "stream", arguments)
        if found is None:
            raise SystemExit("the stream did not keep to the limit")
        in_memory = run(table, "memory", arguments)
    print(f"table of {num_rows:,} rows, {found['table_mb']:,} MB decoded; limit {arguments.limit_mb:,} MB")
    print(f"survey and fit: {found['prepare_s']:.1f} s, peak {found['prepare_peak_mb']:,} MB of private memory")
    print(f"epoch: {found['rows_per_s']:,} rows/s, peak {found['peak_mb']:,} MB, of which idle {found['idle_mb']:,} MB")
    print(f"the same table in memory, same limit: {'fits' if in_memory else 'is refused its memory'}")
    print(json.dumps(found | {"fits_in_memory": in_memory is not None}))


def write_table(path: Path, num_rows: int) -> None:
    """Random numbers, and a target that the first two decide."""
    draw, writer = np.random.default_rng(0), None
    for start in range(0, num_rows, GROUP_ROWS):
        numbers = draw.standard_normal((NUM_COLUMNS, min(GROUP_ROWS, num_rows - start)), dtype=np.float32)
        target = np.where(numbers[0] + numbers[1] > 0, "yes", "no")
        rows = pa.table({f"f{i}": column for i, column in enumerate(numbers)} | {"target": target})
        writer = writer or pq.ParquetWriter(path, rows.schema, use_dictionary=["target"], compression="none")
        writer.write_table(rows)
    if writer is not None:
        writer.close()


def run(table: Path, how: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """What the limited process reports; None where it ran out of memory."""
    command = [sys.executable, "-m", "benchmarks.stream", "--consume", how, "--table", str(table)]
    command += ["--limit-mb", str(arguments.limit_mb), "--window-mb", str(arguments.window_mb)]
    done = subprocess.run(command, env=os.environ | LEAN, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report
    if how == "stream" or not re.search(r"MemoryError|realloc|malloc|allocat", done.stderr):
        print(done.stderr, file=sys.stderr)
    return None


def consume(table: Path, how: str, limit_mb: int, window_mb: int) -> None:
    """In the limited process: print what it took."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 1_000_000, limit_mb * 1_000_000))
    idle_mb, began = private_mb(), time.perf_counter()
    data = DataConfig(source=str(table), target="target", window_mb=window_mb, max_held_out_rows=10_000)
    with Peak() as preparing:
        prepared = prepare_stream(data) if how == "stream" else prepare(data.model_copy(update={"loading": "memory"}))
    prepare_s = time.perf_counter() - began
    loader = open_loader(prepared.train, TrainConfig(global_batch_size=BATCH_ROWS), PlainSession(), None)
    began = time.perf_counter()
    with Peak() as reading:
        num_rows = sum(len(batch.target_B) for batch in loader.batches(LoaderState()))
    if num_rows != len(prepared.train):
        raise RuntimeError(f"{num_rows} of {len(prepared.train)} rows came")
    found = {
        "limit_mb": limit_mb,
        "table_mb": round(4 * NUM_COLUMNS * prepared.counts["kept"] / 1e6),
        "window_mb": window_mb,
        "idle_mb": round(idle_mb),
        "prepare_peak_mb": round(preparing.mb),
        "peak_mb": round(reading.mb),
        "prepare_s": round(prepare_s, 1),
        "rows_per_s": round(num_rows / (time.perf_counter() - began)),
    }
    print(json.dumps(found))


class Peak:
    """The most private memory that this process has in a `with` block, looked at every 10 ms."""

    def __init__(self) -> None:
        self.mb = 0.0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.mb = max(self.mb, private_mb())


def private_mb() -> float:
    """Private memory now."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^RssAnon:\s+(\d+)", status, re.MULTILINE)[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
