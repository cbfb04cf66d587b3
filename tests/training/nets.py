"""Models that misbehave on purpose, imported by path on Ray workers."""

import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

from training.models import ModelInputs


class DiesOnce(nn.Module):
    """A linear model whose process kills itself, once, at the given number of training steps."""

    def __init__(self, inputs: ModelInputs, marker: str, at_step: int, rank: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        self.marker, self.at_step, self.rank, self.steps = Path(marker), at_step, rank, 0

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits, as long as it lives."""
        self.steps += self.training
        if self.steps == self.at_step and self._is_mine() and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(numeric_BF)

    def _is_mine(self) -> bool:
        peers = torch.distributed.is_initialized()
        return not peers or torch.distributed.get_rank() == self.rank


class Raises(nn.Module):
    """A linear model that fails in every training step, for widths below the limit."""

    def __init__(self, inputs: ModelInputs, width: int = 0, limit: int = 10) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        self.width, self.limit = width, limit

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits, or the error."""
        if self.training and self.width < self.limit:
            raise RuntimeError(f"width {self.width} is below {self.limit}")
        return self.layer(numeric_BF)
