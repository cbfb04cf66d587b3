"""Peak memory of workers that train from one table on one node, over the table's own size.

Workers are actor processes, as Ray Train's are, that run the real loader through whole epochs, each its share of the
batches. What counts is the private memory of all of them and what the object store holds, less what both were before
the table came. Private memory is sampled every few milliseconds, so that what is held between two batches counts too.
"""

import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray._private.internal_api import node_stats

from training.data.batches import LoaderState
from training.data.loading import open_loader
from training.data.memory import contiguous
from training.data.prepared import Part
from training.session import PlainSession
from training.train_config import TrainConfig

BATCH_ROWS = 1024
NUM_EPOCHS = 3
SAMPLE_S = 0.005


def measure_memory(name: str, table: Part) -> dict[str, float]:
    """Peaks at one and two workers over the table's size, and what the second adds, as a share of the table."""
    size = table.target.nbytes + sum(array.nbytes for array in table.tensors.values())
    peaks = {num_workers: peak_bytes(table, num_workers) / size for num_workers in (1, 2)}
    found = {
        "peak_over_table_1": round(peaks[1], 3),
        "peak_over_table_2": round(peaks[2], 3),
        "second_worker_adds": round(peaks[2] - peaks[1], 3),
    }
    print(f"memory, {name} of {size / 1e6:.0f} MB: " + ", ".join(f"{key} {value}" for key, value in found.items()))
    return found


def peak_bytes(table: Part, num_workers: int) -> int:
    """Private memory of the workers and use of the object store at their highest, less the idle state."""
    workers = [Worker.remote(rank, num_workers) for rank in range(num_workers)]
    ray.get([worker.warm_up.remote() for worker in workers])
    idle, idle_store = ray.get([worker.private_bytes.remote() for worker in workers]), store_bytes()
    shared = ray.put(contiguous(table))
    epochs = [worker.train.remote(shared) for worker in workers]
    peaks = ray.get(epochs)
    store = store_bytes() - idle_store
    del shared
    for worker in workers:
        ray.kill(worker)
    return int(sum(peaks) - sum(idle) + store)


def store_bytes() -> int:
    """What the node's object store holds."""
    (node,) = (node for node in ray.nodes() if node["Alive"])
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return int(stats.store_stats.object_store_bytes_used)


def private_bytes() -> int:
    """Memory that this process shares with no other."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", rollup, re.MULTILINE)))


@ray.remote(num_cpus=1)
class Worker:
    """One rank of a training, without the model."""

    def __init__(self, rank: int, world_size: int) -> None:
        torch.set_num_threads(1)
        self._session = PlainSession(rank=rank, world_size=world_size)

    def warm_up(self) -> None:
        """Load and start what any table needs."""
        self._epochs(Part({"numeric": np.zeros((200_000, 1), np.float32)}, np.zeros(200_000, np.int64)))

    def private_bytes(self) -> int:
        """Private memory now."""
        return private_bytes()

    def train(self, table: Part) -> int:
        """Private memory at its highest in some epochs."""
        peak, done = [private_bytes()], threading.Event()

        def watch() -> None:
            while not done.wait(SAMPLE_S):
                peak[0] = max(peak[0], private_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        self._epochs(table)
        done.set()
        watcher.join()
        return peak[0]

    def _epochs(self, table: Part) -> Any:
        loader = open_loader(table, TrainConfig(global_batch_size=BATCH_ROWS), self._session, None)
        for epoch in range(NUM_EPOCHS):
            for batch in loader.batches(LoaderState(epoch)):
                assert len(batch.target_B)
            time.sleep(SAMPLE_S)
