"""The one training loop. Torch only: it knows nothing of Ray, and its host is a `Session`.

Shape letters: N rows, B rows of a batch, K outputs.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from training.augment import Augmenter
from training.data.batches import Batch, LoaderState
from training.data.loading import open_loader
from training.data.memory import Rows
from training.data.prepared import Facts, Part
from training.data.stream.part import StreamPart
from training.data.stream.windows import Feeder
from training.errors import TrainingFailed
from training.losses import Loss, Wanted, class_weights
from training.metric_names import METRIC_MODES, is_better, prefixed
from training.metrics import Scores
from training.models.ensemble import Ensemble
from training.session import Checkpoint, Session
from training.suitable import require_suitable
from training.train_config import TrainConfig

CHECKPOINT_FORMAT = 2  # 1 could not stand in the middle of an epoch
EVALUATION_BATCH = 4096


class Trainer:
    """Model, optimizer and place in the data of one training; `checkpoint` and `load` carry all of it."""

    def __init__(
        self, config: TrainConfig, model: nn.Module, facts: Facts, train: Part | StreamPart, validation: Part,
        session: Session, metric: str, feeder: Feeder | None = None,
    ) -> None:  # fmt: skip
        self.config, self.facts, self.session, self.metric = config, facts, session, metric
        self.mode = METRIC_MODES[metric]
        self.model = model
        self._wrapped = session.wrap(model)
        require_suitable(config, facts, validation.target)
        balanced_by = _balanced_by(config, facts, model)
        self._augment = _augmenter(config, facts, validation, session.device)
        self._loss = _loss(config, facts, model, train, session.device, drawn_equally=bool(balanced_by))
        pick = self._augment.picks if self._augment is not None and self._augment.mixes else None
        self._loader = open_loader(train, config, session, feeder, balanced_by=balanced_by, pick=pick)
        self._validation = Rows.of(validation, session.device)
        self._scores = Scores(facts.task, len(facts.labels), session.device)
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, config.weight_decay), lr=config.peak_lr, fused=True
        )
        self.steps_per_epoch = math.ceil(self._loader.num_samples / config.global_batch_size)
        self.epoch, self.samples = 0, 0  # epochs done, and samples of the next one that are consumed
        self._batches: Iterator[Batch] | None = None  # of the epoch at hand, once it is begun
        self._loss_sum = torch.zeros((), device=session.device)
        self.best_epoch, self.best_score, self.best_loss = 0, math.nan, math.nan
        self._best_model: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        """All epochs done, or no improvement for `patience` of them."""
        stopping = self.config.early_stopping
        stalled = stopping is not None and self.epoch - self.best_epoch >= stopping.patience
        return self.epoch >= self.config.epochs or stalled

    def train_epoch(self) -> dict[str, float]:
        """The rest of one pass over the training rows, then a look at the validation rows.

        Raises TrainingFailed on divergence.
        """
        started = time.perf_counter()
        self.train_steps()
        self.epoch, self.samples, self._batches = self.epoch + 1, 0, None
        metrics = self._global_loss() | self.evaluate()
        self._remember_best(metrics)
        return metrics | {"epoch": float(self.epoch), "seconds": time.perf_counter() - started}

    def train_steps(self, max_steps: int | None = None) -> int:
        """Up to so many further steps of the epoch at hand, all that are left by default; gives how many were made.

        `checkpoint` may be called after any of them. Every rank must make as many.
        """
        self._wrapped.train()
        if self._batches is None:
            self._batches = self._loader.batches(LoaderState(self.epoch, self.samples))
        num_steps = 0
        for batch in islice(self._batches, max_steps):
            self._loss_sum += self._step(batch)
            self.samples += batch.num_samples
            num_steps += 1
        return num_steps

    def _step(self, batch: Batch) -> Tensor:
        """One optimizer step. The loss stays on the device: reading it here would stall a GPU every step."""
        step = self.samples // self.config.global_batch_size
        # Seeded by place, not by history, so that a resumed run draws the dropout an unbroken one would have drawn.
        _seed(self.session.device, [self.config.seed, self.epoch, step, self.session.rank])
        rate = learning_rate(
            self.epoch * self.steps_per_epoch + step, self.steps_per_epoch * self.config.epochs, self.config
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._batch_loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm, foreach=True)
        self._optimizer.step()
        return loss.detach()

    def _batch_loss(self, batch: Batch) -> Tensor:
        """Of this rank's share; the mean over ranks is the loss of the global batch."""
        tensors, wanted = batch.tensors, Wanted(batch.target_B)
        if self._augment is not None:
            places_B = torch.arange(batch.start, batch.start + len(batch.target_B), device=batch.target_B.device)
            tensors, wanted = self._augment((tensors, batch.target_B), batch.others, places_B, self.epoch)
        return self._loss(self._wrapped(*tensors), wanted, batch.row_ids_B) * batch.weight

    def _global_loss(self) -> dict[str, float]:
        """Mean training loss of the epoch. NaN on one rank is NaN on all, so all of them stop."""
        loss = float(self._loss_over_ranks()) / self.steps_per_epoch
        self._loss_sum.zero_()
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"training diverged: the loss became {loss} in epoch {self.epoch} with "
                f"train.peak_lr={self.config.peak_lr:g}",
                f"lower train.peak_lr, for example to {self.config.peak_lr / 10:g}, "
                "or look for extreme values in the data",
            )
        return {"train/loss": loss}

    def _loss_over_ranks(self) -> Tensor:
        """Sum over the steps so far of the mean loss of each global batch."""
        total = self._loss_sum.clone()
        if self.session.world_size > 1:
            torch.distributed.all_reduce(total)
        return total / self.session.world_size

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Scores on the validation rows, the same on every rank."""
        self.model.eval()
        num_rows, ranks = len(self._validation), self.session.world_size
        # Too few rows to share out: every rank scores all of them, which leaves each mean as it is.
        mine = torch.arange(num_rows) if num_rows < 4 * ranks else torch.arange(self.session.rank, num_rows, ranks)
        for index_B in mine.split(EVALUATION_BATCH):
            tensors, target_B = self._validation.fetch(index_B)
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
        """Enough to go on exactly here, at any number of workers. In the middle of an epoch every rank calls it."""
        return {
            "format": CHECKPOINT_FORMAT,
            "epoch": self.epoch,
            "samples": self.samples,
            "loss_sum": self._loss_over_ranks() if self.samples else torch.zeros(()),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": {
                "epoch": self.best_epoch,
                "score": self.best_score,
                "loss": self.best_loss,
                "model": self._best_model,
            },
            "data_fingerprint": self.facts.fingerprint,
            "data_sources": list(self.facts.sources),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` was taken. Raises TrainingFailed if it was taken on other data."""
        if checkpoint["data_fingerprint"] not in (self.facts.fingerprint, *self.facts.accepts):
            raise TrainingFailed(
                f"the checkpoint was taken on other data (fingerprint {checkpoint['data_fingerprint']}, "
                f"now {self.facts.fingerprint})",
                "train under another name, or bring the data back",
            )
        self.model.load_state_dict(checkpoint["model"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        self.epoch, self.samples = checkpoint["epoch"], checkpoint.get("samples", 0)
        self._batches = None
        self._loss_sum.zero_()
        if self.samples and self.session.rank == 0:  # the others have nothing to add to it
            self._loss_sum += checkpoint["loss_sum"].to(self.session.device) * self.session.world_size
        best = checkpoint["best"]
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


def _balanced_by(config: TrainConfig, facts: Facts, model: nn.Module) -> str:
    """The setting that has every class drawn equally often; empty where none does."""
    if facts.task == "classification" and config.imbalance.sampling == "balanced":
        return "train.imbalance.sampling=balanced"
    if facts.task == "classification" and isinstance(model, Ensemble) and model.is_balanced:
        return "ensemble.balanced=true"
    return ""


def _augmenter(config: TrainConfig, facts: Facts, like: Part, device: torch.device) -> Augmenter | None:
    if not config.augment.is_on:
        return None
    return Augmenter(config.augment, tuple(like.tensors), facts.transforms, config.seed, device)


def _loss(
    config: TrainConfig, facts: Facts, model: nn.Module, train: Part | StreamPart, device: torch.device, *,
    drawn_equally: bool,
) -> Loss:  # fmt: skip
    weight_K = None
    if facts.task == "classification":
        counts = train.class_counts if isinstance(train, StreamPart) else np.bincount(train.target)
        counts_K = np.pad(counts, (0, len(facts.labels) - len(counts)))
        weight_K = class_weights(config, facts.labels, counts_K, drawn_equally=drawn_equally)
    num_members = model.num_members if isinstance(model, Ensemble) else 0
    return Loss(config, facts, None if weight_K is None else weight_K.to(device), num_members)


def to_scores(logits_BK: Tensor, facts: Facts) -> Tensor:
    """Probabilities (B, K), or predictions (B,) in the target's own unit."""
    if facts.task == "classification":
        return logits_BK.softmax(dim=1)
    return logits_BK[:, 0] * facts.target_scale + facts.target_mean


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


def _seed(device: torch.device, place: Sequence[int]) -> None:
    """Seed torch by a place in the training. `torch.manual_seed` asks after every kind of device, 75 us each time."""
    seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
