"""What a training came to, read from its last checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from training.errors import TrainingFailed


@dataclass(frozen=True)
class FitResult:
    """The outcome of one training."""

    weights: dict[str, Tensor]  # of the best epoch
    best_epoch: int
    metrics: dict[str, float]  # of the best epoch
    checkpoint: str
    num_workers: int  # at the end
    num_steps: int = 0  # optimizer steps made in all
    lost_steps: int = 0  # made again after a loss
    restarts: int = 0


def result_of(
    checkpoint: Mapping[str, Any], path: str, metric: str, num_workers: int, lost_steps: int = 0, restarts: int = 0
) -> FitResult:
    """Of the last checkpoint of a finished training. Raises TrainingFailed where no epoch had a score."""
    best = checkpoint["best"]
    if best["epoch"] == 0:
        raise TrainingFailed(f"validation/{metric} was NaN in every epoch", "set search.metric to another score")
    of_best = next(epoch for epoch in checkpoint["history"] if int(epoch["epoch"]) == best["epoch"])
    scores = {name: value for name, value in of_best.items() if name not in ("epoch", "seconds")}
    return FitResult(
        best["model"], best["epoch"], scores, path, num_workers, int(checkpoint["step"]), lost_steps, restarts
    )
