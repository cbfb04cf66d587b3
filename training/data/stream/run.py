"""Work on the row groups of a table: one after the other in this process, or on all CPUs of a Ray that runs."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from training.data.config import DataConfig
from training.data.stream.files import StreamTable
from training.data.stream.plan import RowGroup
from training.data.stream.rows import TrainingRows
from training.data.table import Schema
from training.errors import DataError
from training.features.fit import Fitted, Summary
from training.features.images import MAX_IMAGES_OF_BLOCK
from training.features.sketch import CAPACITY

T = TypeVar("T")
RAY_WORTH_BYTES = 1 << 30  # of a table: less is read before Ray's processes have started
TASKS_A_CPU = 2  # under way at a time: the results of more would wait in memory


def each_group(work: Callable[[RowGroup], T], table: StreamTable) -> Iterator[T]:
    """The results in the order of the row groups. Raises what `work` raises."""
    if not on_ray(table):
        yield from map(work, table.groups)
        return
    import ray  # noqa: PLC0415  a second that plain processes need not pay

    def call(group: RowGroup) -> T:
        return work(group)

    remote = ray.remote(num_cpus=1)(call)
    most = TASKS_A_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    under_way: deque[Any] = deque()
    for group in table.groups:
        under_way.append(remote.remote(group))
        if len(under_way) >= most:
            yield _get(under_way.popleft())
    while under_way:
        yield _get(under_way.popleft())


def fit_rows(rows: TrainingRows, schema: Schema, data: DataConfig, hash_key_check: str) -> Fitted:
    """Transforms and input descriptions, of the training rows. Raises DataError as `fit_transforms` does."""
    table = rows.reader.table
    if on_ray(table):
        from training.data.stream.on_ray import training_dataset  # noqa: PLC0415  as above
        from training.features.streamed import fit_streamed  # noqa: PLC0415

        return fit_streamed(training_dataset(rows), schema, data, hash_key_check)

    def summary(group: RowGroup) -> Summary | None:
        found = None
        with table.open(group.file) as opened:
            for piece_rows, _ in rows.read(opened, group):
                if piece_rows.num_rows:
                    piece = Summary.of(piece_rows, schema, data, capacity=CAPACITY, max_images=MAX_IMAGES_OF_BLOCK)
                    found = piece if found is None else found.merge(piece)
        return found

    found: Summary | None = None
    for one in each_group(summary, table):  # merged as they come: each holds thousands of numbers a column
        found = found.merge(one) if found is not None and one is not None else found or one
    if found is None:
        raise DataError("the stream has no training rows", "point data.source at files with rows")
    found.require_known_categories(data)  # the schema was inferred from a sample
    return found.finish(schema, data, hash_key_check)


def on_ray(table: StreamTable) -> bool:
    """Whether a table is large enough for Ray, and this process may ask it for CPUs.

    Where Ray was never imported, there is none. An actor does not ask: trials of a search hold all CPUs, and would
    wait for each other.
    """
    if table.row_bytes * table.num_rows < RAY_WORTH_BYTES or "ray" not in sys.modules:
        return False
    ray = sys.modules["ray"]
    return bool(ray.is_initialized()) and ray.get_runtime_context().get_actor_id() is None


def _get(reference: Any) -> Any:
    ray = sys.modules["ray"]
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise
