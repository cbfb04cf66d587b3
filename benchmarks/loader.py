"""Shuffled batches a second, side by side: torch's DataLoader, Ray Data, a bare gather, and the loader of training.

    python -m benchmarks.loader [--rows 500000] [--rounds 3] [--adult adult-train.csv] [--no-memory]

Two tables of numbers ready for a model: 32 float columns, and one like Adult (6 numbers, 8 categories), repeated to
as many rows. Every contender gives whole epochs of shuffled batches of 1,024 rows, one contender after the other,
round by round; the median round counts. Ours is what the training loop calls, on rows that lie in Ray's object store.
The bare gather is `index_select` along an order that was drawn before; ours draws its own.

Ray Data reads the table from Parquet and shuffles in a buffer of ten batches, as its training guide has it. Two
further rows show it with the table held in memory, as columns and as one tensor column.

The last line is JSON: how many times as many rows a second as the fastest DataLoader (`vs_dataloader`) and as Ray Data
(`vs_ray_data`), the share of the bare gather's rate (`of_limit`), the smaller one of both tables; and peak memory, the
larger one, see `benchmarks.loader_memory`.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import adult_like
from benchmarks.loader_memory import measure_memory
from benchmarks.prepare import ADULT_COLUMNS
from training.data.batches import LoaderState
from training.data.config import DataConfig
from training.data.loading import open_loader
from training.data.memory import Rows, contiguous
from training.data.prepare import prepare
from training.data.prepared import Part
from training.session import PlainSession
from training.train_config import TrainConfig

BATCH_ROWS = 1024
SHUFFLE_ROWS = 10 * BATCH_ROWS
NUM_FLOATS = 32
DATALOADERS = ("DataLoader, 0 workers", "DataLoader, 2 workers")
RAY_DATA, RAY_MEMORY, RAY_TENSOR = "Ray Data", "Ray Data, in memory", "Ray Data, one tensor column"
LIMIT, OURS = "bare index_select", "ours"

Epoch = Callable[[int], int]  # number of the epoch -> rows given


def main() -> None:
    """Run all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="of each table")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each contender; the median counts")
    parser.add_argument("--adult", type=Path, help="the real Adult table, a CSV file without a header line")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory figures out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as a worker of one CPU has
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    tables = {"floats": floats(arguments.rows), "adult": adult(arguments.rows, arguments.adult)}
    print(f"{arguments.rows:,} rows, batches of {BATCH_ROWS:,}, median of {arguments.rounds} epochs, {machine()}")
    found: dict[str, object] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            ratios = {name: compare(name, part, Path(folder), arguments.rounds) for name, part in tables.items()}
        found |= {key: min(of_table[key] for of_table in ratios.values()) for key in ratios["floats"]}
        found |= {"tables": ratios}
        if not arguments.no_memory:
            memory = [measure_memory(name, part) for name, part in tables.items()]
            found |= {key: max(of_table[key] for of_table in memory) for key in memory[0]}
    finally:
        ray.shutdown()
    print(json.dumps(found))


def machine() -> str:
    """What it ran on."""
    return f"{os.cpu_count()} cores {platform.machine()}, torch {torch.__version__}, ray {ray.__version__}"


def floats(num_rows: int) -> Part:
    """Random numbers."""
    draw = np.random.default_rng(0)
    numeric = draw.standard_normal((num_rows, NUM_FLOATS), dtype=np.float32)
    return Part({"numeric": numeric}, draw.integers(0, 2, num_rows))


def adult(num_rows: int, path: Path | None) -> Part:
    """Adult, or a table like it, as a model is given it, repeated to so many rows."""
    encoded = encode(path)
    places = np.resize(np.arange(len(encoded)), num_rows)
    return Part({name: array[places] for name, array in encoded.tensors.items()}, encoded.target[places])


def encode(path: Path | None) -> Part:
    """The rows of Adult as tensors."""
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "adult.parquet"
            adult_like.write(path, 32_561)
            data = DataConfig(source=str(path), target="income")
        else:
            data = DataConfig(source=str(path.resolve()), target="income", names=ADULT_COLUMNS, missing=("?",))
        train = prepare(data).train
    assert isinstance(train, Part)
    return train


@dataclass(frozen=True)
class Table:
    """A table in the forms that the contenders take."""

    shared: Part  # in the object store
    columns: pa.Table
    parquet: Path


def compare(name: str, part: Part, folder: Path, num_rounds: int) -> dict[str, float]:
    """Print the rates on one table and give the ratios."""
    columns = as_columns(part)
    parquet = folder / f"{name}.parquet"
    pq.write_table(columns, parquet)
    shared: Part = ray.get(ray.put(contiguous(part)))
    contenders = dict(make_contenders(Table(shared, columns, parquet)))
    rates: dict[str, list[float]] = {contender: [] for contender in contenders}
    for number in range(num_rounds + 1):
        for contender, epoch in contenders.items():
            began = time.perf_counter()
            given = epoch(number)
            seconds = time.perf_counter() - began
            if given != len(part):
                raise RuntimeError(f"{contender} gave {given} of {len(part)} rows")
            if number:  # the first one warms up
                rates[contender].append(given / seconds)
    medians = {contender: statistics.median(found) for contender, found in rates.items()}
    return report(name, part, medians)


def report(name: str, part: Part, rates: dict[str, float]) -> dict[str, float]:
    """The table, and ratios of ours to the others."""
    shapes = ", ".join(f"{tensor} {array.shape[1]} x {array.dtype}" for tensor, array in part.tensors.items())
    print(f"\n{name}: {shapes}\n{'':30} {'million rows/s':>15} {'ours is':>9}")
    ours = rates[OURS]
    for contender, rate in rates.items():
        print(f"{contender:30} {rate / 1e6:15.3f} {ours / rate:8.1f}x")
    return {
        "vs_dataloader": round(ours / max(rates[one] for one in DATALOADERS), 1),
        "vs_ray_data": round(ours / rates[RAY_DATA], 1),
        "vs_ray_data_in_memory": round(ours / rates[RAY_MEMORY], 1),
        "vs_ray_data_one_tensor": round(ours / rates[RAY_TENSOR], 1),
        "of_limit": round(ours / rates[LIMIT], 3),
        "ours_million_rows_s": round(ours / 1e6, 2),
    }


def as_columns(part: Part) -> pa.Table:
    """The table as people have it: a column a feature."""
    columns = {"target": part.target}
    for name, array in part.tensors.items():
        columns |= {f"{name}_{i}": np.ascontiguousarray(array[:, i]) for i in range(array.shape[1])}
    return pa.table(columns)


def make_contenders(table: Table) -> Iterator[tuple[str, Epoch]]:
    """Each by its name."""
    tensors = [torch.tensor(array) for array in (*table.shared.tensors.values(), table.shared.target)]
    for name, num_workers in zip(DATALOADERS, (0, 2), strict=True):
        yield name, dataloader_epoch(tensors, num_workers)
    yield RAY_DATA, ray_data_epoch(ray.data.read_parquet(str(table.parquet)))
    yield RAY_MEMORY, ray_data_epoch(ray.data.from_arrow(table.columns).materialize())
    one_tensor = {name: as_tensor_column(array) for name, array in table.shared.tensors.items()}
    yield RAY_TENSOR, ray_data_epoch(ray.data.from_arrow(pa.table(one_tensor | {"target": table.shared.target})))
    yield LIMIT, bare_epoch(tensors)
    yield OURS, our_epoch(table.shared)


def dataloader_epoch(tensors: list[torch.Tensor], num_workers: int) -> Epoch:
    """The usual way: a TensorDataset; workers stay from epoch to epoch."""
    loader = DataLoader(
        TensorDataset(*tensors), BATCH_ROWS, shuffle=True, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    return lambda _: sum(len(batch[-1]) for batch in loader)


def ray_data_epoch(dataset: ray.data.Dataset) -> Epoch:
    """Batches of tensors, shuffled in a buffer."""

    def epoch(number: int) -> int:
        batches = dataset.iter_torch_batches(
            batch_size=BATCH_ROWS, local_shuffle_buffer_size=SHUFFLE_ROWS, local_shuffle_seed=number
        )
        return sum(len(batch["target"]) for batch in batches)

    return epoch


def as_tensor_column(array: np.ndarray) -> pa.Array:
    """A column of arrays."""
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def bare_epoch(tensors: list[torch.Tensor]) -> Epoch:
    """Gathers alone: what no loader can beat."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(tensors[0])))

    def epoch(_: int) -> int:
        given = 0
        for start in range(0, len(order), BATCH_ROWS):
            index = order[start : start + BATCH_ROWS]
            batch = [tensor.index_select(0, index) for tensor in tensors]
            given += len(batch[-1])
        return given

    return epoch


def our_epoch(part: Part) -> Epoch:
    """What `Trainer` iterates over."""
    assert Rows.of(part, torch.device("cpu")).target_N.data_ptr() == part.target.ctypes.data, "not shared"
    loader = open_loader(part, TrainConfig(global_batch_size=BATCH_ROWS), PlainSession(), None)
    return lambda number: sum(len(batch.target_B) for batch in loader.batches(LoaderState(number)))


if __name__ == "__main__":
    main()
