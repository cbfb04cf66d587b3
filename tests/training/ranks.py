"""The ranks of test_parallel.py: `python ranks.py FOLDER`. Two at first, and a third for the last part."""

import contextlib
import multiprocessing
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoint.store import CheckpointStore
from training.full_state import load_model_state, load_optimizer_state, whole
from training.optim import Ema, Precision, Schedule, build_optimizer, l1_penalty
from training.parallel import no_sync, smallest_over_ranks, sync_buffers, wrap
from training.session import Place
from training.train_config import TrainConfig

CPU = torch.device("cpu")
NUM_STEPS, SAVED_AT, GLOBAL_BATCH = 6, 3, 12
SETTINGS: dict[str, Any] = {"peak_lr": 1e-2, "l1": 1e-4, "ema": {"decay": 0.9}, "weight_decay": 0.1}
WAYS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {"parallel": "fsdp"},
    "ddp_lion": {"optimizer": {"kind": "lion"}},
    "fsdp_lion": {"parallel": "fsdp", "optimizer": {"kind": "lion"}},
    "ddp_sgd": {"optimizer": {"kind": "sgd"}},
    "fsdp_sgd": {"parallel": "fsdp", "optimizer": {"kind": "sgd"}},
    "ddp_recompute": {"activation_checkpointing": True},
    "fsdp_recompute": {"parallel": "fsdp", "activation_checkpointing": True},
    "ddp_micro": {"micro_batch": 2},
    "fsdp_micro": {"parallel": "fsdp", "micro_batch": 2},
    "ddp_bf16": {"precision": "bf16"},
    "fsdp_bf16": {"parallel": "fsdp", "precision": "bf16"},
}


class Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.second(F.gelu(self.first(self.norm(x)))))


class Net(nn.Module):
    """Seven inputs and three outputs, so that shards are of unequal sizes."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Linear(7, 10)
        self.blocks = nn.ModuleList(Block(10, dropout) for _ in range(3))
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class HalfUsed(Net):
    """A person's own model with a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(4, 4)


def of_torch_alone() -> nn.Module:
    """No part of it is a person's own."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 10), nn.GELU(), nn.Linear(10, 3))


class Training:
    """What the loop does, in few lines."""

    def __init__(self, way: str, rank: int, world_size: int, model: nn.Module | None = None) -> None:
        torch.manual_seed(0)
        self.model = model or Net()
        self.config = TrainConfig.model_validate(SETTINGS | WAYS[way])
        self.rank, self.world_size, self.step = rank, world_size, 0
        self.wrapped = wrap(self.model, self.config, CPU, world_size=world_size)
        self.optimizer = build_optimizer(self.model, self.config, CPU)
        self.parameters = list(self.model.parameters())
        self.schedule = Schedule(self.config, NUM_STEPS, "min")
        self.precision = Precision(self.config.precision, CPU)
        self.ema = Ema(self.model, 0.9)

    def run(self, until: int) -> "Training":
        while self.step < until:
            x, y = (part[self.rank :: self.world_size] for part in batch(self.step))
            self.wrapped.train()
            self.schedule.apply(self.optimizer, self.step)
            self.optimizer.zero_grad(set_to_none=True)
            micro = self.config.micro_batch if isinstance(self.config.micro_batch, int) else len(x)
            for start in range(0, len(x), micro):
                rows, is_last = slice(start, start + micro), start + micro >= len(x)
                with contextlib.nullcontext() if is_last else no_sync(self.wrapped):
                    with self.precision.autocast():
                        output = self.wrapped(x[rows])
                    loss = F.cross_entropy(output.float(), y[rows]) * (len(x[rows]) / len(x))
                    if is_last:
                        loss = loss + self.config.l1 * l1_penalty(self.optimizer)
                    self.precision.backward(loss)
            self.precision.clip(self.optimizer, self.parameters, 1.0)
            self.precision.step(self.optimizer)
            self.ema.update(self.step)
            self.step += 1
        return self

    def checkpoint(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> "Training":
        self.step = state["step"]
        load_model_state(self.model, state["model"])
        load_optimizer_state(self.optimizer, state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        return self

    @torch.no_grad()
    def judged(self) -> tuple[Tensor, Tensor]:
        """Outputs with averaged weights and with those of the last step."""
        self.wrapped.eval()
        before = self.model(batch(0)[0])
        with self.ema.swapped(self.model):
            averaged = self.model(batch(0)[0])
        assert torch.equal(self.model(batch(0)[0]), before)
        return averaged, before


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(GLOBAL_BATCH, 7, generator=generator), torch.randint(3, (GLOBAL_BATCH,), generator=generator)


def two_ranks(rank: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for way in WAYS:
        training = Training(way, rank, 2)
        training.run(SAVED_AT)
        if way in ("ddp", "fsdp", "ddp_sgd"):
            state = training.checkpoint()
            place = Place(0, 0, SAVED_AT)
            CheckpointStore(str(folder / f"{way}-shards")).write(state, place, dist.group.WORLD)
            full = whole(state, keep=rank == 0)
            if rank == 0:
                torch.save(full, folder / f"{way}.pt")
            else:
                assert way != "fsdp" or all(value.is_meta for value in full["model"].values())
        training.run(NUM_STEPS)
        found[way] = whole(training.checkpoint()) | {"judged": training.judged()}
    unused = Training("ddp", rank, 2, HalfUsed())
    unused.optimizer.param_groups[0]["takes_decay"] = False  # the penalty would use the layer
    found["unused"] = len(unused.run(NUM_STEPS).optimizer.state) < len(unused.parameters)
    of_torch = Training("ddp", rank, 2, of_torch_alone()).run(NUM_STEPS)
    found["of_torch"] = of_torch.checkpoint() | {"looks": getattr(of_torch.wrapped, "find_unused_parameters", None)}
    found["unsynced"] = {way: gradients_alone(way, rank, 2) for way in ("ddp", "fsdp")}
    found["smallest"] = smallest_over_ranks(10 + rank, CPU, world_size=2)
    drifted = nn.BatchNorm1d(2)
    drifted.get_buffer("running_mean").fill_(float(rank + 5))
    sync_buffers(drifted, world_size=2)
    found["synced"] = drifted.get_buffer("running_mean").tolist()
    return found


def gradients_alone(way: str, rank: int, world_size: int) -> list[Tensor | None]:
    """What `no_sync` leaves on this rank after a backward pass with rows of its own."""
    training = Training(way, rank, world_size)
    with no_sync(training.wrapped):
        training.wrapped(batch(rank)[0]).square().mean().backward()
    return [parameter.grad for parameter in training.parameters]


def three_ranks(rank: int, folder: Path) -> dict[str, Any]:
    full = torch.load(folder / "fsdp.pt", weights_only=True)
    of_shards = Training("fsdp", rank, 3)
    of_shards.load(kept(folder / "fsdp-shards"))
    of_ddp = Training("fsdp", rank, 3)
    of_ddp.load(kept(folder / "ddp-shards"))
    of_full = Training("fsdp", rank, 3).load(full)
    of_sgd = Training("fsdp_sgd", rank, 3).load(kept(folder / "ddp_sgd-shards"))  # saved with a fused kernel
    trainings = {"shards": of_shards, "ddp_shards": of_ddp, "full": of_full, "sgd": of_sgd}
    return {name: whole(training.run(NUM_STEPS).checkpoint()) for name, training in trainings.items()}


def kept(folder: Path) -> dict[str, Any]:
    """The checkpoint that lies there."""
    found = CheckpointStore(str(folder)).newest_intact()
    assert found is not None, f"{folder} holds none"
    return found[1]


def main(rank: int, folder: Path) -> None:
    parts = {2: two_ranks, 3: three_ranks}
    for world_size, part in parts.items():
        if rank >= world_size:
            continue
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store-{world_size}", rank=rank, world_size=world_size,
            timeout=timedelta(seconds=60),
        )  # fmt: skip
        found = part(rank, folder)
        if rank == 0:
            torch.save(found, folder / f"found-{world_size}.pt")
        dist.barrier()
        dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may still run, and would end the process by a signal


if __name__ == "__main__":
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")  # torch is loaded once for all
    workers = [context.Process(target=main, args=(rank, Path(sys.argv[1]))) for rank in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))
