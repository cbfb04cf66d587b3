"""Models that misbehave on purpose, imported by path on Ray workers."""

import os
import signal
import time
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


class Paced(nn.Module):
    """A linear model whose training steps take their time, and which can be told to misbehave by a file.

    A file `<folder>/hang-<rank>`, `pause-<rank>` or `raise-<rank>` is obeyed by that rank in its next step and taken
    away, so that it happens once; `always-<rank>` has it raise ever again.
    """

    def __init__(self, inputs: ModelInputs, folder: str, seconds: float = 0.05) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        self.folder, self.seconds = Path(folder), seconds

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits, after a while."""
        if self.training:
            time.sleep(self.seconds)
            rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
            if self._is_told(f"hang-{rank}"):
                time.sleep(3600)
            if self._is_told(f"pause-{rank}"):
                time.sleep(3)
            if (self.folder / f"always-{rank}").exists() or self._is_told(f"raise-{rank}"):
                raise ValueError("told to fail")
        return self.layer(numeric_BF)

    def _is_told(self, name: str) -> bool:
        try:
            (self.folder / name).rename(self.folder / f"{name}.done")
        except FileNotFoundError:
            return False
        return True


class Troubled(nn.Module):
    """A linear model that in its fifth training step does what it is told to.

    fine: nothing; kills: its process, each time; hangs: stands still; eats: takes memory, ever more; slow: takes two
    seconds to be built, and as long in each evaluation.
    """

    def __init__(self, inputs: ModelInputs, trouble: str = "fine") -> None:
        super().__init__()
        if trouble == "slow":
            time.sleep(2)
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        self.trouble, self.steps = trouble, 0

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits, unless it is in trouble."""
        self.steps += self.training
        if self.trouble == "slow" and not self.training:
            time.sleep(2)
        if self.training and self.steps == 5:
            if self.trouble == "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.trouble == "hangs":
                time.sleep(3600)
            if self.trouble == "eats":
                self.eaten = []
                while True:
                    self.eaten.append(torch.ones(4_000_000))
                    time.sleep(0.02)
        return self.layer(numeric_BF)


class Counted(nn.Module):
    """A linear model that leaves a mark for every training step: a byte in a file."""

    def __init__(self, inputs: ModelInputs, file: str, width: int = 1) -> None:
        super().__init__()
        self.wide = nn.Linear(inputs.num_numeric, width)
        self.layer = nn.Linear(width, inputs.num_outputs)
        self.file = Path(file)

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits."""
        if self.training:
            with self.file.open("ab") as file:
                file.write(b".")
        return self.layer(torch.relu(self.wide(numeric_BF)))


class Puts(nn.Module):
    """A linear model with an operation that has no deterministic kernel."""

    def __init__(self, inputs: ModelInputs) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits."""
        places = torch.zeros(2, dtype=torch.int64)
        torch.zeros(3).put_(places, torch.ones(2))
        return self.layer(numeric_BF)


class Breaks(nn.Module):
    """A linear model that raises where it is told to: built, or called; or stands still when it is called."""

    def __init__(self, inputs: ModelInputs, where: str = "nowhere") -> None:
        super().__init__()
        if where == "built":
            raise RuntimeError("it cannot be built")
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        self.where = where

    def forward(self, numeric_BF: Tensor) -> Tensor:
        """Logits, or not."""
        if self.where == "called":
            raise ValueError("it cannot be called")
        if self.where == "hangs":
            time.sleep(3600)
        return self.layer(numeric_BF)
