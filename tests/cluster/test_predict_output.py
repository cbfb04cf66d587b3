"""Answers as files: no form of them loses a bit, and they are whole or not there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from cluster.predict.output import file_output
from tests.cluster.predicting import people, write_parquet
from tests.packages import write_table_package
from training.errors import StorageError


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow"])
def test_no_form_of_answers_loses_a_bit(tmp_path: Path, kind: Any) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    with file_output(tmp_path / "a", kind, ()) as writer:
        for start in range(0, len(numbers), 999):
            writer.write(pa.table({"prediction": pa.array(numbers[start : start + 999])}))
    match kind:
        case "csv":
            text = pacsv.read_csv(
                tmp_path / "a", convert_options=pacsv.ConvertOptions(column_types={"prediction": "string"})
            )
            got = np.array([np.float32(value) for value in text["prediction"].to_pylist()])
        case "jsonl":
            lines = (tmp_path / "a").read_text().splitlines()
            got = np.array([np.float32(json.loads(line)["prediction"]) for line in lines])
        case "parquet":
            got = pq.read_table(tmp_path / "a")["prediction"].to_numpy()
        case _:
            got = pa.ipc.open_file(tmp_path / "a").read_all()["prediction"].to_numpy()
    assert got.tobytes() == numbers.tobytes()


SMALL_DISK = """
import resource, sys
from pathlib import Path
from cluster.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = ["manta", "predict", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("name", [pytest.param("a.parquet", marks=pytest.mark.slow), "a.csv"])
def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, name: str) -> None:
    write_table_package(tmp_path / "in" / "package")
    write_parquet(people(9000), tmp_path / "in" / "rows.parquet")
    rows, package = tmp_path / "in" / "rows.parquet", tmp_path / "in" / "package"
    arguments = [rows, "--package", package, "--output", tmp_path / name, "--keep", "noise"]
    found = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 3, found.stderr
    assert f"{name} cannot be written: File too large" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_run_that_is_killed_leaves_no_half_output(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with file_output(tmp_path / "a.csv", "csv", ()) as writer:
            writer.write(pa.table({"prediction": [1.0]}))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not (tmp_path / "a.csv").exists()


def test_an_output_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="cannot be written: No such file"),
        file_output(tmp_path / "no" / "a", "csv", ()),
    ):
        pass
