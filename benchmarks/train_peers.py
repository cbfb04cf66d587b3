"""The peers of `benchmarks.train`: a plain torch loop, the same under torchrun, Lightning, and a stock TorchTrainer.

    python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.train_peers ddp FOLDER EPOCHS
    python -m benchmarks.train_peers stock FOLDER

All train one model on one table with AdamW, clipped gradients, a warm-up and a cosine, in one thread a process.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import ray
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from training.data.batches import sample_order

NUM_FLOATS, WIDTHS = 32, (256, 256)
BATCH_ROWS, PEAK_LR, WARMUP_FRACTION, WEIGHT_DECAY, MAX_GRAD_NORM = 512, 3e-3, 0.1, 1e-2, 1.0
Table = tuple[Tensor, Tensor]  # numbers (N, 32), class ids (N,)


def load(folder: Path) -> Table:
    """The table that the benchmark wrote."""
    return torch.from_numpy(np.load(folder / "x.npy")), torch.from_numpy(np.load(folder / "y.npy"))


def perceptron(widths: tuple[int, ...] = WIDTHS) -> nn.Module:
    """The model, as everybody writes it."""
    sizes = [NUM_FLOATS, *widths]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 2))


def rate(step: int, num_steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    warmup = WARMUP_FRACTION * num_steps
    if step < warmup:
        return PEAK_LR * (step + 1) / (warmup + 1)
    return PEAK_LR * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(num_steps - warmup, 1)))


class PlainLoop:
    """What a careful person writes by hand: batches are gathers, nothing is read from the device in a step."""

    def __init__(self, table: Table, num_epochs: int, rank: int = 0, world_size: int = 1) -> None:
        torch.manual_seed(0)
        self.x, self.y = table
        self.rank, self.world_size = rank, world_size
        self.model = perceptron()
        self.wrapped = DistributedDataParallel(self.model) if world_size > 1 else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
        self.num_steps = num_epochs * math.ceil(len(self.x) / BATCH_ROWS)
        self.step = self.epoch = 0

    def run_epoch(self) -> float:
        """Seconds of one pass."""
        began = time.perf_counter()
        order = torch.from_numpy(sample_order(len(self.x), 0, self.epoch)).long()
        total = torch.zeros(())
        share = BATCH_ROWS // self.world_size
        for start in range(0, len(order), BATCH_ROWS):
            first = start + self.rank * share
            rows = order[first : min(first + share, len(order))]
            loss = F.cross_entropy(self.wrapped(self.x.index_select(0, rows)), self.y.index_select(0, rows))
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step, self.num_steps)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM, foreach=True)
            self.optimizer.step()
            total += loss.detach()
            self.step += 1
        float(total)
        self.epoch += 1
        return time.perf_counter() - began


class Gathers(IterableDataset[Table]):
    """The same gathered batches for Lightning, which a DataLoader hands on as they are."""

    def __init__(self, table: Table) -> None:
        self.x, self.y = table
        self.epoch = 0

    def __iter__(self) -> Iterator[Table]:
        """One pass."""
        order = torch.from_numpy(sample_order(len(self.x), 0, self.epoch)).long()
        self.epoch += 1
        for rows in order.split(BATCH_ROWS):
            yield self.x.index_select(0, rows), self.y.index_select(0, rows)


class LightningPerceptron(lightning.LightningModule):
    """As Lightning's guide has it."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.model, self.num_steps = perceptron(), num_steps

    def training_step(self, batch: Table, _index: int) -> Tensor:
        """Loss of a batch."""
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule, stepped with it."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, self.num_steps) / PEAK_LR)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class EpochSeconds(Callback):
    """Notes how long each training epoch took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Note."""
        self._began = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Note."""
        self.seconds.append(time.perf_counter() - self._began)


def lightning_epochs(table: Table, num_epochs: int) -> list[float]:
    """Seconds of each epoch of Lightning's Trainer, all that it can leave out left out."""
    warnings.filterwarnings("ignore", module="lightning")
    timed = EpochSeconds()
    trainer = lightning.Trainer(
        max_epochs=num_epochs, accelerator="cpu", devices=1, gradient_clip_val=MAX_GRAD_NORM, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[timed],
    )  # fmt: skip
    num_steps = num_epochs * math.ceil(len(table[0]) / BATCH_ROWS)
    trainer.fit(LightningPerceptron(num_steps), DataLoader(Gathers(table), batch_size=None))
    return timed.seconds


def ddp(folder: Path, num_epochs: int) -> None:
    """Under torchrun: rank 0 prints the seconds of each epoch."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    loop = PlainLoop(load(folder), num_epochs, distributed.get_rank(), distributed.get_world_size())
    seconds = [loop.run_epoch() for _ in range(num_epochs)]
    if loop.rank == 0:
        print(json.dumps(seconds))
    distributed.destroy_process_group()


def stock(folder: Path) -> None:
    """A TorchTrainer of one worker as Ray's guide has it; prints the clock at its first step."""

    def train(config: dict[str, str]) -> None:
        loop = PlainLoop(load(Path(config["folder"])), 1)
        loop.wrapped = prepare_model(loop.model)
        F.cross_entropy(loop.wrapped(loop.x[:BATCH_ROWS]), loop.y[:BATCH_ROWS]).backward()
        loop.optimizer.step()
        (Path(config["folder"]) / "first-step").write_text(str(time.time()))

    ray.init(address="local", logging_level="ERROR", log_to_driver=False)
    TorchTrainer(train, train_loop_config={"folder": str(folder)}, scaling_config=ScalingConfig(num_workers=1)).fit()
    ray.shutdown()


def main() -> None:
    """One of the peers that need a process of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["ddp", "stock"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("epochs", type=int, nargs="?", default=1)
    arguments = parser.parse_args()
    peers: dict[str, Callable[[], None]] = {
        "ddp": lambda: ddp(arguments.folder, arguments.epochs),
        "stock": lambda: stock(arguments.folder),
    }
    peers[arguments.peer]()


def ddp_epochs(folder: Path, num_epochs: int) -> list[float]:
    """Seconds of each epoch of the hand-written loop in two processes under torchrun."""

    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611",
        "-m", "benchmarks.train_peers", "ddp", str(folder), str(num_epochs),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [float(seconds) for seconds in json.loads(done.stdout.strip().splitlines()[-1])]


if __name__ == "__main__":
    main()
