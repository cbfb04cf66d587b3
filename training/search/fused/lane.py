"""What one lane knows for itself: its settings, its place, and how it went. Shape letters: B rows of a batch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.config import Experiment
from training.errors import TrainingFailed
from training.loop import ROWS_TOLD
from training.loss_log import Diverged, LossLog
from training.metric_names import METRIC_MODES, is_better
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
    best_epoch: int = 0
    best_score: float = math.nan
    best_loss: float = math.nan
    history: list[dict[str, float]] = field(default_factory=list)
    num_rollbacks: int = 0

    def __post_init__(self) -> None:
        self.mode = METRIC_MODES[self.metric]
        self.schedule = Schedule(self.config, self.steps_per_epoch * self.config.epochs, self.mode)
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
        stopping = self.config.early_stopping
        stalled = stopping is not None and self.epoch - self.best_epoch >= stopping.patience
        return self.epoch >= self.config.epochs or stalled

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
        """Take in an epoch's scores; whether it is the best one so far. As `training.loop.Trainer` decides."""
        score = metrics.get(f"validation/{self.metric}", math.nan)
        loss = metrics.get("validation/log_loss", metrics.get("validation/rmse", math.nan))
        stopping = self.config.early_stopping
        self.epoch, self.samples = self.epoch + 1, 0
        self.losses.begin()
        settles = score == self.best_score and is_better(loss, self.best_loss, "min")
        improves = is_better(score, self.best_score, self.mode, stopping.min_delta if stopping else 0.0)
        is_best = not is_judged or settles or improves
        if is_best:
            self.best_epoch, self.best_score, self.best_loss = self.epoch, score, loss
        self.schedule.epoch_done(score)
        self.history.append({**metrics, "epoch": float(self.epoch), "seconds": seconds})
        return is_best

    def failure(self, diverged: Diverged) -> TrainingFailed:
        """Why it ended, in the words of a training by itself."""
        place, rate = diverged.place, self.config.peak_lr
        told = ", ".join(str(row) for row in diverged.rows[:ROWS_TOLD])
        more = f" and {len(diverged.rows) - ROWS_TOLD} more" if len(diverged.rows) > ROWS_TOLD else ""
        rows = f" on the training rows {told}{more}" if diverged.rows else ""
        return TrainingFailed(
            f"training diverged: {diverged.what} in epoch {place.epoch + 1}, step {place.step + 1}{rows} with "
            f"train.peak_lr={rate:g}",
            f"lower train.peak_lr, for example to {rate / 10:g}, or look for extreme values in these rows",
        )
