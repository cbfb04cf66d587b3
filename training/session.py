"""The port between the training loop and whoever hosts it: a Ray Train worker, a trial of a search, a plain process."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training.parallel import wrap
from training.train_config import TrainConfig

Checkpoint = dict[str, Any]  # what `Trainer.checkpoint` gives; loads with weights_only=True


@dataclass(frozen=True)
class Place:
    """Where a training stands, the same at any number of workers."""

    epoch: int  # epochs done
    samples: int  # of the next one, consumed by all workers together
    step: int  # optimizer steps made in all


@dataclass
class Gauges:
    """What the loop measures as it goes, for whoever shows it. The loop changes it in place; nothing here waits."""

    wait_s: float = 0.0  # spent waiting for batches, since the loop began
    lr: float | None = None  # of the last step
    loss: Tensor | None = None  # of the last step, on the device: to read it is to wait for the device
    flops_per_sample: float = 0.0  # forward and backward together; 0 where it was not measured
    peak_flops_per_s: float = 0.0  # of this rank's GPU, as measured; 0 without one


class Order(IntEnum):
    """What a host asks of the loop at a boundary. A larger one wins over a smaller one of another rank."""

    GO_ON = 0
    SAVE = 1
    LEAVE = 2  # save, wait until it is safe, and stop: this machine goes, or somebody wants us to end


class Leaving(Exception):
    """The loop saved itself and stops, as it was ordered to; whoever starts it again goes on at this place."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.place = place


class Session(Protocol):
    """What a host gives to the loop."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, model: nn.Module, config: TrainConfig) -> nn.Module:
        """The model ready to train on this host: moved, and wrapped for gradient exchange where there are peers."""

    def restore(self) -> Checkpoint | None:
        """The newest intact checkpoint of this training, the same on every rank; None where there is none."""

    def boundary(self, place: Place, gauges: Gauges) -> Order:
        """Asked after every step, and between the batches of an evaluation. Every rank asks equally often, and all
        get the same order at the same place. It costs microseconds."""

    def stalled(self, checkpoint: Callable[[], Checkpoint], place: Place) -> contextlib.AbstractContextManager[None]:
        """Around what may take minutes without a boundary, such as a compilation. Should this machine have to go
        meanwhile, what `checkpoint` gave on entry is saved from beside it. Every rank enters it."""

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Keep a checkpoint. The tensors may change as soon as this returns; with `wait` it is safe by then.

        Every rank calls it, since each may hold a part of the state.
        """

    def report(self, metrics: Mapping[str, float]) -> None:
        """One epoch is done: its scores, `epoch` (from 1) and `seconds` among them."""

    def tell(self, event: str, **facts: Any) -> None:
        """Something for the run's record that is no epoch. Rank 0 speaks for all."""


@dataclass
class PlainSession:
    """One process, nothing kept but in memory: tests, benchmarks, and a search's trials."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    history: list[dict[str, float]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    latest: Checkpoint | None = None

    def wrap(self, model: nn.Module, config: TrainConfig) -> nn.Module:
        """On the device; with `compile` and `activation_checkpointing` as asked for."""
        return wrap(model, config, self.device, world_size=1)

    def restore(self) -> Checkpoint | None:
        """What was saved last."""
        return self.latest

    def boundary(self, place: Place, gauges: Gauges) -> Order:
        """Nobody asks for anything here."""
        return Order.GO_ON

    @contextlib.contextmanager
    def stalled(self, checkpoint: Callable[[], Checkpoint], place: Place) -> Iterator[None]:
        """Nothing to guard against."""
        yield

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Remember a copy."""
        self.latest = copied(checkpoint)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Remember."""
        self.history.append(dict(metrics))

    def tell(self, event: str, **facts: Any) -> None:
        """Remember."""
        self.told.append({"event": event, **facts})


def copied(value: Any) -> Any:
    """A checkpoint whose tensors nobody else changes."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list | tuple) else value
