"""Memory that a form adds to a bare process. Run as `python -m`, it measures; imported, it starts that process."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.compress.measure.latency import BATCH_SIZES, first_rows
from training.package.manifest import Variant
from training.package.runtime import open_runner

TIMEOUT_S = 120.0  # torch on a GPU takes half a minute to start and compile
STATUS = Path("/proc/self/status")


def resident_mb(folder: Path, variant: Variant, tensors: Mapping[str, np.ndarray], num_threads: int) -> float | None:
    """Resident memory that loading a form and running it at every batch size adds, in megabytes (10^6 bytes).

    None where the system does not tell (other than Linux), or the form does not run in a process of its own.

    Args:
        folder: that the variant's file lies in.
        variant: the form.
        tensors: rows to run it on.
        num_threads: as serving will use.
    """
    if not STATUS.exists():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.npz"
        np.savez(rows, **first_rows(tensors, max(BATCH_SIZES)))  # type: ignore[arg-type]  # names are ours
        said = json.dumps([str(folder), variant.model_dump_json(), str(rows), num_threads])
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__, said], capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
    return float(done.stdout)


def _measure(folder: str, variant_json: str, rows: str, num_threads: int) -> float:
    variant = Variant.model_validate_json(variant_json)
    with np.load(rows) as loaded:
        tensors = {name: loaded[name] for name in loaded.files}
    _load_library(variant.runtime)
    before = _resident_kb()
    runner = open_runner(Path(folder), variant, num_threads)
    for batch_size in BATCH_SIZES:
        runner(first_rows(tensors, batch_size))
    return (_resident_kb() - before) * 1024 / 1e6


def _load_library(runtime: str) -> None:
    """What every form of a runtime shares is no form's own."""
    __import__(runtime)


def _resident_kb() -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


if __name__ == "__main__":
    sys.stdout.write(f"{_measure(*json.loads(sys.argv[1]))}\n")
