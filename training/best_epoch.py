"""Which epoch's weights a training gives, and when it is of no use to go on."""

import math
from collections.abc import Mapping
from typing import Any

from training.metric_names import METRIC_MODES, is_better
from training.train_config import EarlyStopping

LOSSES = ("validation/log_loss", "validation/rmse")  # what settles between equal scores


class BestEpoch:
    """Of one training. Epochs count from 1; 0: none yet.

    Args:
        metric: decides, without its prefix.
        stopping: `train.early_stopping`.
    """

    def __init__(self, metric: str, stopping: EarlyStopping | None) -> None:
        self._name, self._mode = f"validation/{metric}", METRIC_MODES[metric]
        self._patience = stopping.patience if stopping else math.inf
        self._min_delta = stopping.min_delta if stopping else 0.0
        self.epoch, self.score, self.loss = 0, math.nan, math.nan

    def take(self, epoch: int, metrics: Mapping[str, float], *, is_judged: bool) -> bool:
        """Whether this epoch is the best one so far; where there are no rows that judge, each is."""
        score = metrics.get(self._name, math.nan)
        loss = next((metrics[name] for name in LOSSES if name in metrics), math.nan)
        # On a small validation part many epochs share the best accuracy; the first of them is the least settled one.
        settles = score == self.score and is_better(loss, self.loss, "min")
        is_best = not is_judged or settles or is_better(score, self.score, self._mode, self._min_delta)
        if is_best:
            self.epoch, self.score, self.loss = epoch, score, loss
        return is_best

    def has_stalled(self, epoch: int) -> bool:
        """Whether there was no improvement for `patience` epochs."""
        return epoch - self.epoch >= self._patience

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"epoch": self.epoch, "score": self.score, "loss": self.loss}

    def load(self, state: Mapping[str, Any]) -> None:
        """As `state` gave it."""
        self.epoch, self.score, self.loss = state["epoch"], state["score"], state["loss"]
