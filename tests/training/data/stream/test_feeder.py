"""Streams and shared rows on a real Ray: one feeder for all workers, lost feeders, memory that is not copied."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from tests.training.data.stream import tables
from training.config import Experiment
from training.data.batches import LoaderState
from training.data.memory import Rows
from training.data.prepared import Part
from training.data.stream import run
from training.data.stream.feeder import RayFeeder, start_feeder
from training.data.stream.loader import StreamLoader
from training.data.stream.part import StreamPart
from training.data.stream.prepare import prepare_stream
from training.data.stream.windows import ThreadFeeder
from training.errors import ConfigError, DataError
from training.fit import fit
from training.loop import Trainer, run_to_end
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.progress import Silent
from training.run_folder import RunFolder
from training.session import PlainSession

CPU = torch.device("cpu")


@pytest.fixture
def part(tmp_path: Path) -> StreamPart:
    train = prepare_stream(tables.config(tables.write(tmp_path / "t", tables.rows()))).train
    assert isinstance(train, StreamPart)
    return train.with_windows_of(6 << 10)


def is_shared(tensor: torch.Tensor) -> bool:
    """Whether a tensor's memory is that of Ray's object store."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, stop = (int(end, 16) for end in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < stop:
            return "/dev/shm/plasma" in line
    return False


@ray.remote(num_cpus=1)
def read(part: StreamPart, feeder: Any, rank: int, kill_at: int) -> list[list[int]]:
    """Row numbers of one rank's batches. Rank 0 kills the feeder on its way."""
    batches = StreamLoader(part, RayFeeder(feeder), 3, 50, rank, 2, CPU).batches(LoaderState())
    found = []
    for step, batch in enumerate(batches):
        if step == kill_at and rank == 0:
            ray.kill(feeder, no_restart=False)
        found.append(batch.row_ids_B.tolist())
    return found


def test_workers_read_what_one_process_reads_also_when_the_feeder_is_killed(ray_2_cpus: None, part: StreamPart) -> None:
    """Both CPUs are taken by the workers: the feeder must run beside them."""
    feeder = start_feeder(part)
    one, other = ray.get([read.remote(part, feeder, rank, kill_at=7) for rank in range(2)], timeout=120)
    alone = StreamLoader(part, ThreadFeeder(part.decode), 3, 50, 0, 1, CPU).batches(LoaderState())
    assert [mine + theirs for mine, theirs in zip(one, other, strict=True)] == [
        batch.row_ids_B.tolist() for batch in alone
    ]
    ray.kill(feeder)


@ray.remote(num_cpus=0)
def look(part: StreamPart, feeder: Any, rows: Part) -> tuple[bool, bool, float]:
    """Whether a window and a table lie in the object store, and what a gather over the table costs in MB."""
    window = RayFeeder(feeder).request(part.plan_windows(3, 0, 50)[0]).result()
    of_window, of_table = (Rows.of(Part(one.tensors, one.target), CPU) for one in (window, rows))
    before = private_mb()
    for index in torch.arange(len(of_table)).split(1000):
        of_table.take(index)
    return is_shared(of_window.tensors[0]), is_shared(of_table.tensors[0]), private_mb() - before


def private_mb() -> float:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", rollup, re.MULTILINE))) / 1024


def test_rows_lie_in_the_object_store_and_a_worker_adds_little(ray_2_cpus: None, part: StreamPart) -> None:
    rows = Part({"numeric": np.ones((200_000, 32), np.float32)}, np.zeros(200_000, np.int64))
    shared, feeder = ray.put(rows), start_feeder(part)
    for window_is_shared, table_is_shared, added_mb in ray.get([look.remote(part, feeder, shared) for _ in range(2)]):
        assert window_is_shared
        assert table_is_shared
        assert added_mb < 0.15 * 27  # MB of the table
    ray.kill(feeder)


def test_errors_of_the_feeder_reach_the_worker_as_they_are(ray_2_cpus: None, part: StreamPart) -> None:
    Path(part.table.paths[0]).unlink()
    feeder = start_feeder(part)
    with pytest.raises(DataError, match=r"part-0\.parquet changed while it was read: it is gone"):
        RayFeeder(feeder).request(part.plan_windows(3, 0, 50)[0]).result()
    ray.kill(feeder)
    with pytest.raises(ConfigError, match=r"lower data\.window_mb to \d+"):
        start_feeder(part.with_windows_of(1 << 50))


@pytest.mark.slow
def test_ray_surveys_and_fits_as_one_process_does(
    ray_2_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tables.config(tables.write(tmp_path / "t", tables.rows()), split={"kind": "time", "by": "day"})
    alone = prepare_stream(config)
    monkeypatch.setattr(run, "RAY_WORTH_BYTES", 0)  # as if the table were large
    by_ray = prepare_stream(config)
    assert isinstance(alone.train, StreamPart)
    assert isinstance(by_ray.train, StreamPart)
    assert np.array_equal(alone.train.counts_K, by_ray.train.counts_K)
    assert alone.facts.fingerprint == by_ray.facts.fingerprint
    assert alone.test_rows.equals(by_ray.test_rows)
    one, other = alone.facts.transforms, by_ray.facts.transforms
    assert one.categorical == other.categorical
    assert [column.mean for column in one.numeric] == pytest.approx([column.mean for column in other.numeric])


@pytest.mark.slow
def test_two_workers_learn_from_a_stream_what_one_process_learns(ray_2_cpus: None, tmp_path: Path) -> None:
    folder = tables.write(tmp_path / "t", tables.rows(), num_files=2)
    train = {"epochs": 2, "global_batch_size": 100, "peak_lr": 0.02, "early_stopping": None, "workers": 2}
    wanted = Experiment.model_validate(
        {
            "name": "stream", "storage": str(tmp_path), "data": tables.config(folder).model_dump(),
            "model": {"kind": "mlp", "hidden": [8]}, "train": train,
        }
    )  # fmt: skip
    prepared = prepare_stream(wanted.data)
    assert isinstance(prepared.train, StreamPart)
    of_run = RunFolder.of(wanted)
    of_run.open(wanted)
    result = fit(wanted, prepared, of_run, name="own", metric="accuracy", progress=Silent(), code_path="")
    session = PlainSession()
    model = build_model(MlpConfig(hidden=(8,)), ModelInputs.of(prepared.facts.transforms, 2), 0)
    alone = Trainer(wanted.train, model, prepared.facts, prepared.train, prepared.validation, session, "accuracy")
    run_to_end(alone, session)
    best = alone.checkpoint()["best"]
    assert result.best_epoch == best["epoch"]
    assert all(torch.allclose(result.weights[name], best["model"][name], atol=1e-5) for name in result.weights)
