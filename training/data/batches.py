"""Batches of one rank: which samples, in which order, with which weight.

The samples of an epoch are one sequence for all ranks together, a pure function of (seed, epoch). A loader's state is
how many of them are consumed, so it means the same at any number of workers.

Shape letters: B rows of a batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LoaderState:
    """A place in the data: so many samples of this epoch are consumed, by all workers together."""

    epoch: int = 0
    samples: int = 0


class Batch(NamedTuple):
    """One rank's share of a global batch."""

    row_ids_B: Tensor  # numbers of the rows: in the training part, or in the whole table of a stream
    tensors: tuple[Tensor, ...]  # in the model's order
    target_B: Tensor
    weight: float  # the mean over ranks of (mean loss of the share x weight) is that of the global batch
    num_samples: int  # of the global batch
    start: int  # place of the first row in the epoch's sequence
    others: tuple[tuple[Tensor, ...], Tensor] | None = None  # tensors and target of rows to mix with, where asked for


Pick = Callable[
    [Tensor, int], Tensor
]  # places in the sequence of an epoch (B,), and the epoch -> which rows to mix with


class Loader(Protocol):
    """Where the batches of a training come from."""

    num_samples: int  # of an epoch, all ranks together

    def batches(self, state: LoaderState) -> Iterator[Batch]:
        """This rank's batches from `state` to the end of its epoch. Every rank gets the same number of them."""


class Share(NamedTuple):
    """One rank's part of a global batch, as places in the epoch's sequence."""

    start: int
    stop: int
    weight: float
    batch_start: int
    batch_stop: int


def shares(num_samples: int, consumed: int, global_batch_size: int, rank: int, world_size: int) -> Iterator[Share]:
    """One rank's part of every global batch that is left.

    The last batch may be smaller: its weights make up for shares of unequal size. A rank whose share is empty takes
    a sample with weight 0, because its peers wait for its gradients.
    """
    for batch_start in range(consumed, num_samples, global_batch_size):
        batch_stop = min(batch_start + global_batch_size, num_samples)
        size, extra = divmod(batch_stop - batch_start, world_size)
        start = batch_start + rank * size + min(rank, extra)
        mine = size + (rank < extra)
        weight = mine * world_size / (batch_stop - batch_start)
        if not mine:
            start, mine = batch_start, 1
        yield Share(start, start + mine, weight, batch_start, batch_stop)


def sample_order(num_rows: int, *place: int) -> np.ndarray:
    """Row numbers in the order of one epoch: a pure function of its arguments, (seed, epoch) above all."""
    # Every worker holds two orders, which in 64 bits would be a sixth of a narrow table. And torch draws one in
    # under half the time that NumPy takes, which is half as long as the gathers of the epoch.
    dtype = torch.int32 if num_rows <= torch.iinfo(torch.int32).max else torch.int64
    seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed), dtype=dtype).numpy()
