"""What one lane knows for itself: its settings, its place, and how it went. Shape letters: B rows of a batch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.best_epoch import BestEpoch
from training.config import Experiment
from training.errors import TrainingFailed
from training.loss_log import Diverged, LossLog
from training.metric_names import METRIC_MODES
from training.optim.schedule import Schedule
from training.search.fused.optimizer import Course
from training.session import Place
from training.train_config import TrainConfig

CPU = torch.device("cpu")


@dataclass
class Lane:
    """One trial of a stack. Its weights are a row of the stack's."""

    name: str
    experiment: Experiment
    metric: str
    steps_per_epoch: int
    epoch: int = 0  # epochs done
    samples: int = 0  # of the next one, consumed
    step: int = 0  # optimizer steps made in all
    history: list[dict[str, float]] = field(default_factory=list)
    num_rollbacks: int = 0

    def __post_init__(self) -> None:
        mode = METRIC_MODES[self.metric]
        self.best = BestEpoch(self.metric, self.config.early_stopping)
        self.schedule = Schedule(self.config, self.steps_per_epoch * self.config.epochs, mode)
        self.losses = LossLog(0, 1, CPU)

    @property
    def config(self) -> TrainConfig:
        """How it trains."""
        return self.experiment.train

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.epoch, self.samples, self.step)

    @property
    def finished(self) -> bool:
        """All epochs done, or no improvement for `patience` of them."""
        return self.epoch >= self.config.epochs or self.best.has_stalled(self.epoch)

    @property
    def course(self) -> Course:
        """What its optimizer does in the epoch at hand, from its first step on."""
        steps_done = -(-self.samples // self.config.global_batch_size)
        return Course(self.config, self.schedule, self.step - steps_done)

    def saw(self, steps: Sequence[tuple[Place | None, Tensor, Tensor, Tensor]], size: float) -> None:
        """Steps that were made: place, loss, gradient's norm and rows (B,) of each, on the CPU. Raises Diverged.

        A step without a place was not this lane's. `size` is the norm of the weights as they are now.
        """
        is_clipped = self.config.max_grad_norm is not None
        for place, loss, norm, rows_B in steps:
            if place is not None:
                self.losses.add(place, loss, rows_B, norm if is_clipped else None)
        self.losses.look()
        if not math.isfinite(size):
            raise Diverged(self.place, f"the weights' norm became {size:g}")

    def epoch_done(self, metrics: Mapping[str, float], seconds: float, *, is_judged: bool) -> bool:
        """Take in an epoch's scores; whether it is the best one so far."""
        self.epoch, self.samples = self.epoch + 1, 0
        self.losses.begin()
        is_best = self.best.take(self.epoch, metrics, is_judged=is_judged)
        self.schedule.epoch_done(metrics.get(f"validation/{self.metric}", math.nan))
        self.history.append({**metrics, "epoch": float(self.epoch), "seconds": seconds})
        return is_best

    def failure(self, diverged: Diverged) -> TrainingFailed:
        """Why it ended, in the words of a training by itself."""
        rate = self.config.peak_lr
        return TrainingFailed(
            f"{diverged.told} with train.peak_lr={rate:g}",
            f"lower train.peak_lr, for example to {rate / 10:g}, or look for extreme values in these rows",
        )
