"""Work done one item ahead by a background thread, and batches brought to a GPU that way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from training.data.batches import Batch

T = TypeVar("T")


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; each is made by a thread while the one before it is in use, and no further ones.

    An error of `items` comes up where its item would have. Closing waits for the item that is being made.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="one-ahead") as thread:
        coming = thread.submit(_next, items)
        while (made := coming.result()) is not None:
            coming = thread.submit(_next, items)
            yield made[0]
            del made  # or it would stay in memory beside the two that follow it


def _next(items: Iterator[T]) -> tuple[T] | None:
    for item in items:
        return (item,)
    return None


def staged(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches from pinned memory on a GPU, each gathered and copied while the one before it is computed on."""
    copies = torch.cuda.Stream(device)

    def copy(batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(copies):  # the pinned memory is kept by torch until this stream has read it
            return moved(batch, device), copies.record_event()

    for batch, arrived in one_ahead(map(copy, batches)):
        computes = torch.cuda.current_stream(device)
        computes.wait_event(arrived)
        for tensor in _tensors(batch):
            tensor.record_stream(computes)  # or a later copy could be written over it while it is being read
        yield batch


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; a GPU copies it from pinned memory beside what it computes."""
    row_ids_B, target_B = (tensor.to(device, non_blocking=True) for tensor in (batch.row_ids_B, batch.target_B))
    tensors = tuple(tensor.to(device, non_blocking=True) for tensor in batch.tensors)
    others = None
    if batch.others is not None:
        other_tensors, other_B = batch.others
        others = (
            tuple(tensor.to(device, non_blocking=True) for tensor in other_tensors),
            other_B.to(device, non_blocking=True),
        )
    return batch._replace(row_ids_B=row_ids_B, tensors=tensors, target_B=target_B, others=others)


def _tensors(batch: Batch) -> Iterator[torch.Tensor]:
    yield from (batch.row_ids_B, *batch.tensors, batch.target_B)
    if batch.others is not None:
        yield from (*batch.others[0], batch.others[1])
