"""The port between the training loop and whoever hosts it: a Ray Train worker, a trial of a search, a plain process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

Checkpoint = dict[str, Any]  # what `Trainer.checkpoint` gives; loads with weights_only=True


class Session(Protocol):
    """What a host gives to the loop."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model ready to train on this host: moved, and wrapped for gradient exchange where there are peers."""

    def restore(self) -> Checkpoint | None:
        """The newest checkpoint of this run, if there is one."""

    def report(self, metrics: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """One epoch is done. Every rank calls it equally often, since it may wait for the others."""


@dataclass
class PlainSession:
    """One process, nothing kept but in memory: tests, benchmarks, and a search's trials."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    history: list[dict[str, float]] = field(default_factory=list)
    latest: Checkpoint | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on the device."""
        return model.to(self.device)

    def restore(self) -> Checkpoint | None:
        """What the last report held."""
        return self.latest

    def report(self, metrics: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """Remember."""
        self.history.append(dict(metrics))
        self.latest = checkpoint or self.latest
