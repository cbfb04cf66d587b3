"""Rows that fit in memory, and their batches: gathers on contiguous arrays that all workers of a node share.

Shape letters: N rows, B rows of a batch.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.data.ahead import staged
from training.data.batches import Batch, LoaderState, Pick, shares
from training.data.prepared import Part

Order = Callable[[int], np.ndarray]  # epoch -> row numbers in the order of that epoch
SLOW_ORDER = 100_000  # samples from which drawing an order takes a millisecond, and is done an epoch ahead


def contiguous(part: Part) -> Part:
    """The same rows, each array in one piece of memory; without a copy where they are so already."""
    tensors = {name: np.ascontiguousarray(array) for name, array in part.tensors.items()}
    return Part(tensors, np.ascontiguousarray(part.target))


@dataclass(frozen=True)
class Rows:
    """A part's tensors in the model's order, where they lie, and the device that wants them."""

    tensors: tuple[Tensor, ...]
    target_N: Tensor
    device: torch.device

    @classmethod
    def of(cls, part: Part, device: torch.device) -> "Rows":
        """Without a copy on a CPU: the arrays may lie in the object store, shared by all workers of a node.

        On a GPU they move there where they take at most half of its free memory; else they stay on the host.
        """
        rows = cls.on_host(part, device)
        if device.type != "cuda" or 2 * _num_bytes(part) > torch.cuda.mem_get_info(device)[0]:
            return rows
        return cls(tuple(tensor.to(device) for tensor in rows.tensors), rows.target_N.to(device), device)

    @classmethod
    def on_host(cls, part: Part, device: torch.device) -> "Rows":
        """The arrays themselves, for batches that are brought to the device."""
        return cls(tuple(shared_tensor(array) for array in part.tensors.values()), shared_tensor(part.target), device)

    def __len__(self) -> int:
        return len(self.target_N)

    @property
    def are_resident(self) -> bool:
        """Whether they lie on the device that wants them."""
        return self.target_N.device.type == self.device.type

    def take(self, index_B: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gather rows where they lie: one contiguous copy a tensor, which beats any loop over rows.

        For another device into pinned memory, or it could not copy while it computes.
        """
        gather = torch.Tensor.index_select if self.are_resident else _gather_pinned
        return tuple(gather(tensor, 0, index_B) for tensor in self.tensors), gather(self.target_N, 0, index_B)

    def fetch(self, index_B: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gather rows and bring them to the device."""
        tensors, target_B = self.take(index_B.to(self.target_N.device))
        return tuple(tensor.to(self.device) for tensor in tensors), target_B.to(self.device)


class MemoryLoader:
    """Batches of rows that are in memory."""

    def __init__(
        self, rows: Rows, order: Order, global_batch_size: int, rank: int, world_size: int, pick: Pick | None = None
    ) -> None:
        self._rows, self._order, self._pick = rows, order, pick
        self._global_batch_size, self._rank, self._world_size = global_batch_size, rank, world_size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sample-order")  # starts with its first task
        self._ahead: tuple[int, Future[np.ndarray]] | None = None
        self.num_samples = len(rows)

    def batches(self, state: LoaderState) -> Iterator[Batch]:
        """This rank's batches from `state` to the end of its epoch."""
        gathered = self._gather(state)
        return gathered if self._rows.are_resident else staged(gathered, self._rows.device)

    def _gather(self, state: LoaderState) -> Iterator[Batch]:
        order_N = torch.from_numpy(self._order_of(state.epoch)).to(self._rows.target_N.device)
        for start, stop, weight, batch_start, batch_stop in shares(
            len(order_N), state.samples, self._global_batch_size, self._rank, self._world_size
        ):
            row_ids_B = order_N[start:stop].long()
            tensors, target_B = self._rows.take(row_ids_B)
            others = self._others(start, stop, state.epoch)
            yield Batch(row_ids_B, tensors, target_B, weight, batch_stop - batch_start, start, others)

    def _others(self, start: int, stop: int, epoch: int) -> tuple[tuple[Tensor, ...], Tensor] | None:
        if self._pick is None:
            return None
        places_B = torch.arange(start, stop, device=self._rows.target_N.device)
        return self._rows.take(self._pick(places_B, epoch) % len(self._rows))

    def _order_of(self, epoch: int) -> np.ndarray:
        """The order of an epoch. Where it takes long to draw, that of the next epoch is drawn meanwhile."""
        if self.num_samples < SLOW_ORDER:
            return self._order(epoch)
        order_N = self._ahead[1].result() if self._ahead and self._ahead[0] == epoch else self._order(epoch)
        self._ahead = (epoch + 1, self._thread.submit(self._order, epoch + 1))
        return order_N


def shared_tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor of the same memory, only to be read: arrays from the object store cannot be written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def _num_bytes(part: Part) -> int:
    return part.target.nbytes + sum(array.nbytes for array in part.tensors.values())


def _gather_pinned(tensor_N: Tensor, dim: int, index_B: Tensor) -> Tensor:
    out = torch.empty((len(index_B), *tensor_N.shape[1:]), dtype=tensor_N.dtype, pin_memory=True)
    return torch.index_select(tensor_N, dim, index_B, out=out)
