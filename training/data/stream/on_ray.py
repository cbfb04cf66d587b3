"""The training rows of a stream as a Ray Dataset."""

from collections.abc import Iterator
from typing import Any

import ray.data

from training.data.stream.rows import TrainingRows

MAX_TASKS = 1000  # that a table is read by: more would cost more to start than they divide


def training_dataset(rows: TrainingRows) -> ray.data.Dataset:
    """The rows as read, not encoded; each block is a piece of a row group."""
    groups = rows.reader.table.groups

    def read(batch: Any) -> Iterator[Any]:
        for number in batch["id"]:
            with rows.reader.table.open(groups[number].file) as opened:
                yield from (table for table, _ in rows.read(opened, groups[number]))

    numbers = ray.data.range(len(groups), override_num_blocks=min(len(groups), MAX_TASKS))
    return numbers.map_batches(read, batch_size=None, batch_format="numpy")
