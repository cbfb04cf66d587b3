"""The one training loop. Torch only: it knows nothing of Ray, and its host is a `Session`.

Shape letters: N rows, B rows of a batch, K outputs.
"""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import TrainConfig
from training.data.prepare import Facts, Part
from training.errors import TrainingFailed
from training.metric_names import METRIC_MODES, is_better, prefixed
from training.metrics import Scores
from training.session import Checkpoint, Session

CHECKPOINT_FORMAT = 1
EVALUATION_BATCH = 4096


@dataclass(frozen=True)
class Rows:
    """A part's tensors on the device, in the model's order."""

    tensors: tuple[Tensor, ...]
    target_N: Tensor

    @classmethod
    def of(cls, part: Part, device: torch.device) -> "Rows":
        """Without a copy on a CPU: the arrays may lie in the object store, shared by all workers of a node."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # the loop only gathers from them
            tensors = tuple(torch.from_numpy(array).to(device) for array in part.tensors.values())
            return cls(tensors, torch.from_numpy(part.target).to(device))

    def take(self, index_B: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gather rows: one contiguous copy a tensor, which beats any loop over rows."""
        return tuple(tensor.index_select(0, index_B) for tensor in self.tensors), self.target_N.index_select(0, index_B)


class Trainer:
    """Model, optimizer and place in the data of one training; `checkpoint` and `load` carry all of it."""

    def __init__(
        self, config: TrainConfig, model: nn.Module, facts: Facts, train: Part, validation: Part, session: Session,
        metric: str,
    ) -> None:  # fmt: skip
        self.config, self.facts, self.session, self.metric = config, facts, session, metric
        self.mode = METRIC_MODES[metric]
        self.model = model
        self._wrapped = session.wrap(model)
        self._train, self._validation = Rows.of(train, session.device), Rows.of(validation, session.device)
        self._scores = Scores(facts.task, len(facts.labels), session.device)
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, config.weight_decay), lr=config.peak_lr, fused=True
        )
        self.steps_per_epoch = math.ceil(len(train) / config.global_batch_size)
        self.epoch = 0  # epochs done
        self.best_epoch, self.best_score, self.best_loss = 0, math.nan, math.nan
        self._best_model: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        """All epochs done, or no improvement for `patience` of them."""
        stopping = self.config.early_stopping
        stalled = stopping is not None and self.epoch - self.best_epoch >= stopping.patience
        return self.epoch >= self.config.epochs or stalled

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training rows, then a look at the validation rows. Raises TrainingFailed on divergence."""
        started = time.perf_counter()
        # Seeded by place, not by history, so that a resumed run draws the dropout an unbroken one would have drawn.
        torch.manual_seed(_mix(self.config.seed, self.epoch, self.session.rank))
        self._wrapped.train()
        loss_sum = torch.zeros((), device=self.session.device)
        for step, batch in enumerate(self._batches()):
            loss_sum += self._step(self.epoch * self.steps_per_epoch + step, *batch)
        self.epoch += 1
        metrics = self._global_loss(loss_sum) | self.evaluate()
        self._remember_best(metrics)
        return metrics | {"epoch": float(self.epoch), "seconds": time.perf_counter() - started}

    def _batches(self) -> list[tuple[Tensor, float]]:
        """This rank's row numbers of each global batch, and the weight that makes the mean over ranks exact."""
        order_N = sample_order(len(self._train.target_N), self.config.seed, self.epoch)
        return [
            (index.to(self.session.device), weight)
            for index, weight in shard_batches(
                order_N, self.config.global_batch_size, self.session.rank, self.session.world_size
            )
        ]

    def _step(self, step: int, index_B: Tensor, weight: float) -> Tensor:
        """One optimizer step. The loss stays on the device: reading it here would stall a GPU every step."""
        rate = learning_rate(step, self.steps_per_epoch * self.config.epochs, self.config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        tensors, target_B = self._train.take(index_B)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._wrapped(*tensors), target_B) * weight
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm, foreach=True)
        self._optimizer.step()
        return loss.detach()

    def _loss(self, logits_BK: Tensor, target_B: Tensor) -> Tensor:
        if self.facts.task == "classification":
            return F.cross_entropy(logits_BK, target_B, label_smoothing=self.config.label_smoothing)
        scaled_B = (target_B - self.facts.target_mean) / self.facts.target_scale
        return F.mse_loss(logits_BK[:, 0], scaled_B)

    def _global_loss(self, loss_sum: Tensor) -> dict[str, float]:
        """Mean training loss of the epoch. NaN on one rank is NaN on all, so all of them stop."""
        if self.session.world_size > 1:
            torch.distributed.all_reduce(loss_sum)
        loss = float(loss_sum) / (self.steps_per_epoch * self.session.world_size)
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"training diverged: the loss became {loss} in epoch {self.epoch} with "
                f"train.peak_lr={self.config.peak_lr:g}",
                f"lower train.peak_lr, for example to {self.config.peak_lr / 10:g}, "
                "or look for extreme values in the data",
            )
        return {"train/loss": loss}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Scores on the validation rows, the same on every rank."""
        self.model.eval()
        num_rows, ranks = len(self._validation.target_N), self.session.world_size
        # Too few rows to share out: every rank scores all of them, which leaves each mean as it is.
        mine = torch.arange(num_rows) if num_rows < 4 * ranks else torch.arange(self.session.rank, num_rows, ranks)
        for index_B in mine.to(self.session.device).split(EVALUATION_BATCH):
            tensors, target_B = self._validation.take(index_B)
            self._scores.update(to_scores(self.model(*tensors), self.facts), target_B)
        return prefixed("validation", self._scores.compute())

    def _remember_best(self, metrics: Mapping[str, float]) -> None:
        score = metrics[f"validation/{self.metric}"]
        loss = metrics["validation/log_loss" if self.facts.task == "classification" else "validation/rmse"]
        stopping = self.config.early_stopping
        # On a small validation part many epochs share the best accuracy; the first of them is the least settled one.
        settles = score == self.best_score and is_better(loss, self.best_loss, "min")
        if settles or is_better(score, self.best_score, self.mode, stopping.min_delta if stopping else 0.0):
            self.best_epoch, self.best_score, self.best_loss = self.epoch, score, loss
            self._best_model = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def checkpoint(self) -> Checkpoint:
        """Enough to go on exactly here."""
        return {
            "format": CHECKPOINT_FORMAT,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": {
                "epoch": self.best_epoch,
                "score": self.best_score,
                "loss": self.best_loss,
                "model": self._best_model,
            },
            "data_fingerprint": self.facts.fingerprint,
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` was taken. Raises TrainingFailed if it was taken on other data."""
        if checkpoint["data_fingerprint"] != self.facts.fingerprint:
            raise TrainingFailed(
                f"the checkpoint was taken on other data (fingerprint {checkpoint['data_fingerprint']}, "
                f"now {self.facts.fingerprint})",
                "train under another name, or bring the data back",
            )
        self.model.load_state_dict(checkpoint["model"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        self.epoch, best = checkpoint["epoch"], checkpoint["best"]
        self.best_epoch, self.best_score, self.best_loss = best["epoch"], best["score"], best["loss"]
        self._best_model = best["model"]


def run_to_end(trainer: Trainer, session: Session) -> None:
    """Resume, then train and report epoch by epoch until finished."""
    if (checkpoint := session.restore()) is not None:
        trainer.load(checkpoint)
    while not trainer.finished:
        metrics = trainer.train_epoch()
        is_due = trainer.finished or trainer.epoch % trainer.config.checkpoint_every_epochs == 0
        session.report(metrics, trainer.checkpoint() if is_due else None)


def to_scores(logits_BK: Tensor, facts: Facts) -> Tensor:
    """Probabilities (B, K), or predictions (B,) in the target's own unit."""
    if facts.task == "classification":
        return logits_BK.softmax(dim=1)
    return logits_BK[:, 0] * facts.target_scale + facts.target_mean


def sample_order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """Row numbers in the order of one epoch: a pure function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def shard_batches(
    order_N: np.ndarray, global_batch_size: int, rank: int, world_size: int
) -> list[tuple[Tensor, float]]:
    """One rank's share of every global batch, with its weight.

    The mean over ranks of (mean loss of the share x weight) is the mean loss of the global batch, also where
    the last batch does not divide evenly. A rank whose share is empty takes a row with weight 0, because its
    peers wait for its gradients.
    """
    shares: list[tuple[Tensor, float]] = []
    for start in range(0, len(order_N), global_batch_size):
        batch = order_N[start : start + global_batch_size]
        share = np.array_split(batch, world_size)[rank]
        weight = len(share) * world_size / len(batch)
        shares.append((torch.from_numpy(share if len(share) else batch[:1]), weight))
    return shares


def learning_rate(step: int, num_steps: int, config: TrainConfig) -> float:
    """Linear warm-up to the peak, then half a cosine to 0 (Loshchilov and Hutter, SGDR, 2017)."""
    warmup = config.warmup_fraction * num_steps
    if step < warmup:
        return config.peak_lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(num_steps - warmup, 1)
    return config.peak_lr * 0.5 * (1 + math.cos(math.pi * progress))


def _parameter_groups(model: nn.Module, weight_decay: float) -> Sequence[dict[str, object]]:
    """Weight decay on matrices only: on biases and norms it costs accuracy and buys nothing."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _mix(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> 1)
