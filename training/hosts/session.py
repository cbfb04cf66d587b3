"""The session of both hosts: what the loop asks for, by way of a keeper of checkpoints and a channel to the record."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from training import parallel
from training.hosts.boundary import Boundary
from training.hosts.keeper import Keeper
from training.hosts.vitals import Vitals
from training.session import Checkpoint, Gauges, Order, Place
from training.train_config import TrainConfig


class Channel(Protocol):
    """Where a session tells things. None of it waits, but for `restored`."""

    def passed(self) -> None:
        """A boundary."""

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """An epoch is done."""

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something for the run's record."""

    def restored(self, step: int, epoch: int, history: Sequence[Mapping[str, float]], name: str | None) -> None:
        """Where this process goes on: at a checkpoint of this name, or from the beginning."""


class HostSession:
    """One rank of a training that is kept, watched and told of."""

    def __init__(
        self, rank: int, world_size: int, device: torch.device, boundary: Boundary, keeper: Keeper, vitals: Vitals,
        channel: Channel,
    ) -> None:  # fmt: skip
        self.rank, self.world_size, self.device = rank, world_size, device
        self._boundary, self._keeper, self._vitals, self._channel = boundary, keeper, vitals, channel
        self._saved_place: Place | None = None
        self._is_restored = False

    def wrap(self, model: nn.Module, config: TrainConfig) -> nn.Module:
        """On the device, and wrapped for gradient exchange where there are peers."""
        return parallel.wrap(model, config, self.device, world_size=self.world_size)

    def restore(self) -> Checkpoint | None:
        """The newest intact checkpoint, the same on every rank. Raises StorageError where a rank cannot read it."""
        with self._vitals.during("restore"):
            checkpoint, name = self._keeper.newest()
        self._vitals.phase = "train"  # from here on a step is awaited
        place = _place_of(checkpoint)
        self._saved_place = self._vitals.place = place
        if self.rank == 0 and not self._is_restored:  # a later call goes back after a divergence, which is told apart
            self._channel.restored(place.step, place.epoch, checkpoint["history"] if checkpoint else [], name)
        self._is_restored = True
        return checkpoint

    def boundary(self, place: Place, gauges: Gauges) -> Order:
        """The same order on every rank at the same place."""
        self._vitals.passed(place, gauges)
        self._channel.passed()
        return self._boundary.ask(place)

    @contextlib.contextmanager
    def stalled(self, checkpoint: Callable[[], Checkpoint], place: Place) -> Iterator[None]:
        """What is not saved yet is saved on entry, in the background: so it is safe also from a kill meanwhile, and
        nobody has to save from beside a thread that compiles."""
        if place != self._saved_place and place.step:
            self.save(checkpoint(), place)
        with self._vitals.during("compile"):
            yield

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Keep a checkpoint. Raises StorageError with `wait` when it cannot be kept."""
        with self._vitals.during("save"):
            self._keeper.save(checkpoint, place, wait=wait)
        self._saved_place = place

    def report(self, metrics: Mapping[str, float]) -> None:
        """One epoch is done: rank 0 speaks for all, since the scores are synchronised."""
        if self.rank == 0:
            self._channel.epoch(metrics)

    def tell(self, event: str, **facts: Any) -> None:
        """Something for the run's record that is no epoch."""
        if self.rank == 0:
            self._channel.tell(event, facts)


def _place_of(checkpoint: Checkpoint | None) -> Place:
    if checkpoint is None:
        return Place(0, 0, 0)
    return Place(int(checkpoint["epoch"]), int(checkpoint["samples"]), int(checkpoint["step"]))
