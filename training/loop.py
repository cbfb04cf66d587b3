"""The one training loop. Torch only: it knows nothing of Ray, and its host is a `Session`.

Shape letters: N rows, B rows of a batch, R ranks.
"""

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.augment import Augmenter
from training.best_epoch import BestEpoch
from training.cpu_memory import keep_freed_memory
from training.data.batches import Batch, LoaderState
from training.data.loading import open_loader
from training.data.memory import Rows
from training.data.prepared import Facts, Part
from training.data.stream.part import StreamPart
from training.data.stream.windows import Feeder
from training.errors import TrainingFailed
from training.full_state import load_model_state, placed_like
from training.loss_log import Diverged, LossLog
from training.losses import Loss, loss_weights
from training.metric_names import METRIC_MODES, prefixed
from training.metrics import Scores
from training.models.ensemble import Ensemble
from training.optim.precision import check_precision
from training.optim.schedule import Schedule
from training.outputs import evaluation_rows, to_scores
from training.parallel import sync_buffers
from training.seeds import seed_others
from training.session import Checkpoint, Gauges, Leaving, Order, Place, Session
from training.step import StepMaker
from training.suitable import require_suitable
from training.train_config import TrainConfig

CHECKPOINT_FORMAT = 3  # 1 could not stand in the middle of an epoch, 2 knew one optimizer and one schedule
MAX_ROLLBACKS = 3


class Trainer:
    """Model, optimizer and place in the data of one training; `checkpoint` and `load` carry all of it.

    `wrap_loss` is given the loss of the training, and gives what stands in its place: a teacher's, for example.
    """

    def __init__(
        self, config: TrainConfig, model: nn.Module, facts: Facts, train: Part | StreamPart, validation: Part,
        session: Session, metric: str, feeder: Feeder | None = None, code_path: str = "",
        wrap_loss: Callable[[Loss], Loss] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.facts, self.session, self.metric = config, facts, session, metric
        self.mode = METRIC_MODES[metric]
        self.gauges = Gauges()
        require_suitable(config, facts, validation.target)
        check_precision(config, session.device)
        seed_others(config.seed, session.rank)
        if session.device.type == "cpu":
            keep_freed_memory()
        self._wrapped = session.wrap(model, config)
        self.model = self._wrapped.module if isinstance(self._wrapped, DistributedDataParallel) else self._wrapped
        balanced_by = _balanced_by(config, facts, model)
        augment = _augmenter(config, facts, validation, session.device)
        pick = augment.picks if augment is not None and augment.mixes else None
        self._loader = open_loader(train, config, session, feeder, balanced_by=balanced_by, pick=pick)
        self.steps_per_epoch = math.ceil(self._loader.num_samples / config.global_batch_size)
        schedule = Schedule(config, self.steps_per_epoch * config.epochs, self.mode)
        loss = _loss(config, facts, model, train, session.device, drawn_equally=bool(balanced_by), code_path=code_path)
        loss = wrap_loss(loss) if wrap_loss else loss
        self._make_step = StepMaker(config, self.model, self._wrapped, loss, augment, schedule, session, code_path)
        self._validation = Rows.of(validation, session.device)
        self._scores = Scores(facts.task, len(facts.labels), session.device, quantile=config.loss.judged_quantile)
        self.epoch, self.samples, self.step = 0, 0, 0  # `samples` of the epoch at hand are consumed
        self._batches: Iterator[Batch] | None = None  # of the epoch at hand, once it is begun
        self._losses = LossLog(session.rank, session.world_size, session.device)
        self._has_begun = False  # a step was made by this process: before it lies all that starting costs
        self._compiled_for: set[tuple[Any, ...]] = set()
        self.best = BestEpoch(metric, config.early_stopping)
        self._best_model: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.num_rollbacks = 0

    @property
    def finished(self) -> bool:
        """All epochs done, or no improvement for `patience` of them."""
        return self.epoch >= self.config.epochs or self.best.has_stalled(self.epoch)

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.epoch, self.samples, self.step)

    def train_epoch(self) -> dict[str, float]:
        """The rest of one pass over the training rows, then a look at the validation rows.

        Raises:
            Diverged: the loss is no number, or has exploded.
            Leaving: the host ordered it, and all is saved.
        """
        started = time.perf_counter()
        self.train_steps()
        self._losses.look()
        metrics = {"train/loss": float(self._losses.sums().mean()) / self.steps_per_epoch} | self.evaluate()
        self.epoch, self.samples, self._batches = self.epoch + 1, 0, None
        self._losses.begin()
        self._remember_best(metrics)
        self._make_step.schedule.epoch_done(metrics.get(f"validation/{self.metric}", math.nan))
        metrics |= {"epoch": float(self.epoch), "seconds": time.perf_counter() - started}
        self.history.append(metrics)
        return metrics

    def train_steps(self, max_steps: int | None = None) -> int:
        """Up to so many further steps of the epoch at hand, all that are left by default; gives how many were made.

        `checkpoint` may be called after any of them. Every rank must make as many.
        """
        if self._batches is None:
            self._batches = self._loader.batches(LoaderState(self.epoch, self.samples))
        num_steps = 0
        self._wrapped.train()
        for batch in islice(self._timed(self._batches), max_steps):
            if (
                self.session.device.type == "cuda"
                and not self.gauges.flops_per_sample
                and self.config.parallel == "ddp"
            ):
                self._make_step.measure(batch, self.gauges)
            with self._compiling(batch.tensors):
                loss = self._make_step(batch, self.place)
            if not self._has_begun:
                self._has_begun = True
                self.session.tell("first_step", step=self.step)
            self._losses.add(self.place, loss, batch.row_ids_B, self._make_step.norm)
            self.gauges.loss, self.gauges.lr = loss, self._make_step.rate
            self.samples += batch.num_samples
            self.step += 1
            num_steps += 1
            self._obey(self.session.boundary(self.place, self.gauges))
        return num_steps

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, the time counted that they are waited for."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.gauges.wait_s += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def _compiling(self, tensors: tuple[Tensor, ...]) -> contextlib.AbstractContextManager[None]:
        """Around what torch.compile may compile first, which takes minutes in which nothing can be asked."""
        if not self.config.compile:
            return contextlib.nullcontext()
        key = (self._wrapped.training, *(tuple(tensor.shape) for tensor in tensors))
        if key in self._compiled_for:
            return contextlib.nullcontext()
        self._compiled_for.add(key)
        return self.session.stalled(self._sound_checkpoint, self.place)

    def _sound_checkpoint(self) -> Checkpoint:
        """What has diverged is not worth keeping, and would be gone back to. Raises Diverged."""
        self._losses.look()
        self.require_sound()
        return self.checkpoint()

    def _obey(self, order: Order) -> None:
        if order == Order.GO_ON:
            return
        self._losses.look()
        if order == Order.SAVE and self._losses.is_suspect:
            return  # it stays due, and is asked for again
        self.session.save(self._sound_checkpoint(), self.place, wait=order == Order.LEAVE)
        if order == Order.LEAVE:
            raise Leaving(self.place)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Scores on the validation rows, the same on every rank; none where there are no such rows."""
        if not len(self._validation):
            return {}
        self._wrapped.eval()
        sync_buffers(self.model, world_size=self.session.world_size)
        num_rows, ranks = len(self._validation), self.session.world_size
        # Too few rows to share out: every rank scores all of them, which leaves each mean as it is.
        mine = torch.arange(num_rows) if num_rows < 4 * ranks else torch.arange(self.session.rank, num_rows, ranks)
        size = evaluation_rows(self.facts)
        self._scores.reset()
        # Every rank makes as many pieces, since all of them ask for orders together.
        for start in range(0, math.ceil(num_rows / (ranks if len(mine) < num_rows else 1)), size):
            self._score(mine[start : start + size])
            self._obey(self.session.boundary(self.place, self.gauges))
        return prefixed("validation", self._scores.compute())

    def _score(self, index_B: Tensor) -> None:
        # A rank that has no row left takes one, and forgets its score: sharded weights are gathered by all together.
        tensors, target_B = self._validation.fetch(index_B if len(index_B) else torch.zeros(1, dtype=torch.int64))
        ema = self._make_step.ema
        # The averages come after what may save a checkpoint: it would hold them as the weights to go on from.
        with (
            self._compiling(tensors),
            ema.swapped(self.model) if ema else contextlib.nullcontext(),
            self._make_step.precision.autocast(),
        ):
            output = self.model(*tensors)
        if len(index_B):
            self._scores.update(to_scores(output, self.facts), target_B)

    def _remember_best(self, metrics: Mapping[str, float]) -> None:
        if self.best.take(self.epoch, metrics, is_judged=len(self._validation) > 0):
            ema = self._make_step.ema
            with ema.swapped(self.model) if ema else contextlib.nullcontext():
                self._best_model = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def checkpoint(self) -> Checkpoint:
        """Enough to go on exactly here, at any number of workers. Every rank calls it, at the same place."""
        sync_buffers(self.model, world_size=self.session.world_size)
        return {
            "format": CHECKPOINT_FORMAT,
            "epoch": self.epoch,
            "samples": self.samples,
            "step": self.step,
            "loss_sums": self._losses.sums(),
            "loss_baseline": [self._losses.baseline, self._losses.num_baseline],
            "model": self.model.state_dict(),
            **self._make_step.state(),
            "rng": _rng_state(),
            "num_rollbacks": self.num_rollbacks,
            "best": {**self.best.state(), "model": self._best_model},
            "history": [dict(metrics) for metrics in self.history],
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
        load_model_state(self.model, checkpoint["model"])
        self._make_step.load(checkpoint)
        self.epoch, self.samples, self.step = checkpoint["epoch"], checkpoint["samples"], checkpoint["step"]
        self._batches = None
        self._losses.begin(checkpoint["loss_sums"])
        self._losses.baseline, self._losses.num_baseline = checkpoint["loss_baseline"]
        self.num_rollbacks = checkpoint["num_rollbacks"]
        self.history = [dict(metrics) for metrics in checkpoint["history"]]
        if self.session.world_size == 1:  # several ranks must not draw the same
            _set_rng_state(checkpoint["rng"])
        self.best.load(checkpoint["best"])
        best, own = checkpoint["best"]["model"], self.model.state_dict()
        self._best_model = {name: placed_like(tensor, own[name]) for name, tensor in best.items()}

    def roll_back(self, checkpoint: Checkpoint) -> None:
        """Go on from an earlier place, more carefully each time."""
        num_rollbacks = self.num_rollbacks + 1
        self.load(checkpoint)
        self.num_rollbacks = num_rollbacks
        self._make_step.schedule.lr_scale = 0.5**num_rollbacks

    def require_sound(self) -> None:
        """Raise Diverged where a weight is no number, though no loss has shown it yet. Reads the device."""
        norms = torch.nn.utils.get_total_norm(self._make_step.parameters)
        total = float(norms.full_tensor() if hasattr(norms, "full_tensor") else norms)  # of shares of sharded weights
        if not math.isfinite(total):
            raise Diverged(self.place, f"the weights' norm became {total:g}")


def run_to_end(trainer: Trainer, session: Session) -> None:
    """Resume, then train and report epoch by epoch until finished, and leave a last checkpoint.

    Raises:
        TrainingFailed: it diverged, with the rows that did it.
        Leaving: the host ordered it, and all is saved.
    """
    if (checkpoint := session.restore()) is not None:
        trainer.load(checkpoint)
    elif trainer.config.on_nan == "rollback":
        session.save(trainer.checkpoint(), trainer.place, wait=True)  # the first step may be the one that diverges
    while not trainer.finished:
        session.report(next_epoch(trainer, session))
    trainer.require_sound()
    session.save(trainer.checkpoint(), trainer.place, wait=True)


def next_epoch(trainer: Trainer, session: Session) -> dict[str, float]:
    """Train to the end of an epoch; one that diverges is gone back from, where that is asked for.

    Raises:
        TrainingFailed: it diverged, with the rows that did it.
    """
    while True:
        try:
            return trainer.train_epoch()
        except Diverged as diverged:
            _recover(trainer, session, diverged)


def _recover(trainer: Trainer, session: Session, diverged: Diverged) -> None:
    config, place = trainer.config, diverged.place
    can_go_back = config.on_nan == "rollback" and trainer.num_rollbacks < MAX_ROLLBACKS
    checkpoint = session.restore() if can_go_back else None
    facts = {"step": place.step, "epoch": place.epoch + 1, "what": diverged.what, "rows": list(diverged.rows)}
    if checkpoint is None:
        session.tell("diverged", **facts, action="stop")
        again = f" {trainer.num_rollbacks} times, each with half the rate," if trainer.num_rollbacks else ""
        raise TrainingFailed(
            f"{diverged.told}{again} with train.peak_lr={config.peak_lr:g}",
            f"lower train.peak_lr, for example to {config.peak_lr / 10:g}, look for extreme values in these rows, or "
            "set train.on_nan: rollback to go on from the last checkpoint with half the rate",
        )
    trainer.roll_back(checkpoint)
    session.tell("diverged", **facts, action="rollback", to_step=trainer.step, lr_scale=0.5**trainer.num_rollbacks)


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
    drawn_equally: bool, code_path: str,
) -> Loss:  # fmt: skip
    weight = loss_weights(config, facts, train, drawn_equally=drawn_equally)
    num_members = model.num_members if isinstance(model, Ensemble) else 0
    return Loss(config, facts, None if weight is None else weight.to(device), num_members, code_path)


def _rng_state() -> dict[str, Any]:
    """Of the generators that a module of somebody's own may draw from; ours are seeded by place."""
    version, keys, gauss = random.getstate()
    _, numpy_keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "python": [version, list(keys), gauss],
        "numpy": [torch.from_numpy(np.asarray(numpy_keys).astype(np.int64)), position, has_gauss, cached],
    }


def _set_rng_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    numpy_keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", numpy_keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
