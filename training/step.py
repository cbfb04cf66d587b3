"""One optimizer step: forward, backward, clip, step, average. Nothing in it waits for the device.

Shape letters: B rows of a batch.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from training.augment import Augmenter
from training.data.batches import Batch
from training.errors import ConfigError, TrainingFailed
from training.flops import flops_per_sample, matrix_peak
from training.full_state import load_optimizer_state
from training.losses import Loss, Wanted
from training.micro_batch import find_micro_batch, free_memory, is_out_of_memory, with_optimizer_state
from training.models.batch_norm import apart
from training.optim.build import build_optimizer
from training.optim.ema import Ema
from training.optim.penalty import l1_penalty
from training.optim.precision import Precision, narrow_type
from training.optim.schedule import Schedule
from training.parallel import no_sync, smallest_over_ranks
from training.session import Gauges, Place, Session
from training.train_config import TrainConfig


class StepMaker:
    """What turns batches into better weights: optimizer, rate, precision, average; `state` carries all of it."""

    def __init__(
        self, config: TrainConfig, model: nn.Module, wrapped: nn.Module, loss: Loss, augment: Augmenter | None,
        schedule: Schedule, session: Session, code_path: str = "",
    ) -> None:  # fmt: skip
        self._config, self._model, self._wrapped, self._session = config, model, wrapped, session
        self._loss, self._augment, self.schedule = loss, augment, schedule
        self.optimizer = build_optimizer(model, config, session.device, code_path)
        self.precision = Precision(config.precision, session.device)
        self.ema = Ema(model, config.ema.decay) if config.ema else None
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.norm: Tensor | None = None  # of the last step's gradients, on the device; None where it is not known
        self.micro_batch: int | None = config.micro_batch if isinstance(config.micro_batch, int) else None
        if config.micro_batch == "auto" and config.parallel == "fsdp":
            raise ConfigError(
                "train.micro_batch=auto tries sizes on one worker by itself, and train.parallel=fsdp needs all of them "
                "for every try",
                "give train.micro_batch a number",
            )

    def __call__(self, batch: Batch, place: Place) -> Tensor:
        """One step on this rank's share of a global batch; gives its loss, which is still on the device."""
        if self._config.micro_batch == "auto" and self.micro_batch is None:
            self.micro_batch = self._found(batch, place)
        while True:
            try:
                return self._step(batch, place)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error, len(batch.target_B))
            free_memory()  # after the error, on whose traceback the activations of the failed step hang

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _step(self, batch: Batch, place: Place) -> Tensor:
        # Seeded by place, not by history, so that a resumed run draws the dropout an unbroken one would have drawn.
        seed_torch(self._session.device, self._config.seed, place.epoch, place.samples, self._session.rank)
        self.schedule.apply(self.optimizer, place.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.gradients(batch, place.epoch)
        if self._config.max_grad_norm is not None:
            norm = self.precision.clip(self.optimizer, self.parameters, self._config.max_grad_norm)
            # With loss scaling it may overflow, which skips the step; that of shards would take an exchange to know.
            self.norm = None if self.precision.scaler is not None or isinstance(norm, DTensor) else norm
        self.precision.step(self.optimizer)
        if self.ema is not None:
            self.ema.update(place.step)
        return loss

    def gradients(self, batch: Batch, epoch: int) -> Tensor:
        """Of the mean loss of this rank's share, piece by piece where it is put through in pieces."""
        tensors, wanted = self._inputs(batch, epoch)
        # As many on every rank, also on one with a row less: some models wait for their peers in a forward pass.
        largest = -(-batch.num_samples // self._session.world_size)
        pieces = pieces_of(len(batch.target_B), -(-largest // min(self.micro_batch or largest, largest)))
        total: Tensor | None = None
        for i, (rows, share) in enumerate(pieces, 1):
            is_last = i == len(pieces)
            piece = (tensors, wanted, batch.row_ids_B) if len(pieces) == 1 else _piece(tensors, wanted, batch, rows)
            with contextlib.nullcontext() if is_last else no_sync(self._wrapped):
                with self.precision.autocast():  # around the loss, too: in bfloat16 its sums would lose their digits
                    loss = self._loss(self._wrapped(*piece[0]), piece[1], piece[2])
                if batch.weight * share != 1:
                    loss = loss * (batch.weight * share)
                if is_last and self._config.l1:
                    # The weights are the same on every rank, and so is this: the mean over ranks leaves it as it is.
                    loss = loss + self._config.l1 * l1_penalty(self.optimizer)
                self.precision.backward(loss)
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return total

    def _inputs(self, batch: Batch, epoch: int) -> tuple[tuple[Tensor, ...], Wanted]:
        if self._augment is None:
            return batch.tensors, Wanted(batch.target_B)
        places_B = torch.arange(batch.start, batch.start + len(batch.target_B), device=batch.target_B.device)
        return self._augment((batch.tensors, batch.target_B), batch.others, places_B, epoch)

    def _found(self, batch: Batch, place: Place) -> int:
        """The most rows at a time that memory holds, on the rank that holds least."""

        def attempt(num_rows: int) -> None:
            rows = slice(0, num_rows)
            with self.precision.autocast():
                output = self._model(*(tensor[rows] for tensor in batch.tensors))
                loss = self._loss(output, Wanted(batch.target_B[rows]), batch.row_ids_B[rows])
            self.precision.backward(loss)
            self._model.zero_grad(set_to_none=True)

        with _only_tried(self._model), with_optimizer_state(self.optimizer):
            found = find_micro_batch(attempt, len(batch.target_B))
        found = smallest_over_ranks(found, self._session.device, world_size=self._session.world_size)
        if found < len(batch.target_B):
            self._session.tell("micro_batch", rows=found, share=len(batch.target_B), step=place.step)
        return found

    def measure(self, batch: Batch, gauges: Gauges) -> None:
        """How much a row takes to compute, and what the GPU could do in this precision. Before the first step."""

        def loss_of(output: Tensor) -> Tensor:
            rows = slice(0, len(output))
            return self._loss(output, Wanted(batch.target_B[rows]), batch.row_ids_B[rows])

        with _only_tried(self._model), self.precision.autocast():
            gauges.flops_per_sample = flops_per_sample(self._model, batch.tensors, loss_of)
        gauges.peak_flops_per_s = matrix_peak(
            self._session.device, narrow_type(self._config.precision) or torch.float32
        )

    def _shrink(self, error: RuntimeError, num_rows: int) -> None:
        """Half as many rows at a time, where that is ours to decide and no peer waits in the middle of an exchange."""
        size = min(self.micro_batch or num_rows, num_rows)
        if self._config.micro_batch != "auto" or self._session.world_size > 1 or size == 1:
            raise TrainingFailed(
                f"worker {self._session.rank} ran out of memory with {size} rows at a time: {str(error).split('.')[0]}",
                f"set train.micro_batch to {max(1, size // 2)} or auto, lower train.global_batch_size, or set "
                "train.activation_checkpointing",
            ) from error
        self.optimizer.zero_grad(set_to_none=True)
        self.micro_batch = size // 2
        self._session.tell("micro_batch", rows=self.micro_batch, share=num_rows)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.precision.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "micro_batch": self.micro_batch,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; parts that an older checkpoint lacks begin anew."""
        load_optimizer_state(self.optimizer, state["optimizer"])
        if state.get("schedule"):
            self.schedule.load_state_dict(state["schedule"])
        if state.get("scaler"):
            self.precision.load_state_dict(state["scaler"])
        if self.ema is not None and state.get("ema"):
            self.ema.load_state_dict(state["ema"])
        if self._config.micro_batch == "auto":
            self.micro_batch = state.get("micro_batch")


def _piece(
    tensors: tuple[Tensor, ...], wanted: Wanted, batch: Batch, rows: slice
) -> tuple[tuple[Tensor, ...], Wanted, Tensor]:
    return tuple(tensor[rows] for tensor in tensors), wanted.of(rows), batch.row_ids_B[rows]


def pieces_of(num_rows: int, num_pieces: int) -> list[tuple[slice, float]]:
    """Rows in so many pieces, and what share of all each is; a piece that is left without a row repeats the first."""
    bounds = [num_rows * i // num_pieces for i in range(num_pieces + 1)]
    return [
        (slice(first, last), (last - first) / num_rows) if last > first else (slice(0, 1), 0.0)
        for first, last in pairwise(bounds)
    ]


@contextlib.contextmanager
def _only_tried(model: nn.Module) -> Iterator[None]:
    """Buffers such as running means must not learn from rows that are only tried, nor wait for peers to try them."""
    buffers = [buffer.clone() for buffer in model.buffers()]
    with apart(model):
        yield
    for buffer, before in zip(model.buffers(), buffers, strict=True):
        buffer.copy_(before)


def seed_torch(device: torch.device, *place: int) -> None:
    """Seed torch by a place in the training. `torch.manual_seed` asks after every kind of device, 75 us each time."""
    # NumPy's SeedSequence takes ten times as long.
    seed = int.from_bytes(hashlib.blake2b(str(place).encode(), digest_size=8).digest(), "little") >> 1
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
