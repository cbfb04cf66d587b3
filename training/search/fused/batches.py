"""The batches of lanes that step together, each in the order of its own seed and epoch.

Shape letters: L lanes, B rows of a batch.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from training.data.batches import Batch, LoaderState, sample_order
from training.data.memory import MemoryLoader, Rows
from training.data.order import balanced_order
from training.data.prepared import Facts, Part
from training.train_config import TrainConfig


class LaneBatch(NamedTuple):
    """One batch of each lane."""

    row_ids: tuple[Tensor, ...]  # (B,) of each lane
    tensors: tuple[Tensor, ...]  # (B, ...) where the lanes share them, else (L, B, ...)
    target: Tensor  # (L, B, ...)
    is_shared: bool
    start: int  # samples of the epoch that come before
    num_samples: int


class LaneLoader:
    """Batches of rows in memory. Lanes at the same seed and epoch share one gather."""

    def __init__(self, config: TrainConfig, facts: Facts, train: Part, device: torch.device) -> None:
        is_balanced = facts.task == "classification" and config.imbalance.sampling == "balanced"
        self._rows, self._size = Rows.of(train, device), config.global_batch_size
        self._order = partial(balanced_order, train.target) if is_balanced else partial(sample_order, len(train))
        self._loaders: dict[int, MemoryLoader] = {}  # by seed: one draws a long order while its last one is used
        self.num_samples = len(train)

    def batches(self, lanes: Sequence[tuple[int, int]], samples: int) -> Iterator[LaneBatch]:
        """Batches from so many consumed samples on to the end of the epoch, for lanes at (seed, epoch)."""
        places = list(dict.fromkeys(lanes))
        self._loaders = {seed: self._loader(seed) for seed, _ in places}
        sources = [self._loaders[seed].batches(LoaderState(epoch, samples)) for seed, epoch in places]
        which = [places.index(lane) for lane in lanes]
        start = samples
        while True:
            found = [next(source, None) for source in sources]
            parts = [batch for batch in found if batch is not None]
            if not parts:
                return
            yield _joined(parts, which, start)
            start += parts[0].num_samples

    def _loader(self, seed: int) -> MemoryLoader:
        return self._loaders.get(seed) or MemoryLoader(self._rows, partial(self._order, seed), self._size, 0, 1)


def _joined(parts: Sequence[Batch], which: Sequence[int], start: int) -> LaneBatch:
    row_ids = tuple(parts[i].row_ids_B for i in which)
    if len(parts) == 1:
        only = parts[0]
        target = only.target_B.expand(len(which), *only.target_B.shape)
        return LaneBatch(row_ids, only.tensors, target, True, start, only.num_samples)
    tensors = tuple(torch.stack([parts[i].tensors[number] for i in which]) for number in range(len(parts[0].tensors)))
    target = torch.stack([parts[i].target_B for i in which])
    return LaneBatch(row_ids, tensors, target, False, start, parts[0].num_samples)
