"""The training loop against loops written by hand, and what checkpoints and start-up cost.

    python -m benchmarks.train [--rows 400000] [--rounds 5] [--only loop,ddp,checkpoint,start]

One model, one table, one order of batches for all. In one process the contenders take turns, an epoch each, and the
median of the rounds' ratios counts; under torchrun and Ray Train runs take turns, and the median epoch of each counts
after the first, which warms up. Ratios are rates, so above 1 is faster than the peer.

    vs_plain_loop               against a plain torch loop
    vs_lightning                against Lightning's Trainer, fed with the same gathered batches
    vs_torchrun_ddp             two workers of ours under Ray Train against two processes under torchrun
    checkpoint_cost_fraction    rate lost to a checkpoint every 10 s and to polling for notices
    seconds_to_first_step       from the shell command on, one worker on this machine; and where they go

Needs the `bench` extra: pip install -e ".[bench]" -c constraints.txt
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch

from benchmarks import train_peers
from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Part, Prepared
from training.fit import fit
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.progress import Silent
from training.run_folder import RunFolder
from training.session import PlainSession

MANTA = Path(sys.executable).parent / "manta"
EPOCHS_A_RUN = 6  # of a run in processes of its own
CHECKPOINT_RUN_S = 45
Found = dict[str, Any]


def main() -> None:
    """Run what is asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="loop,ddp,checkpoint,start")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as a worker of one CPU has
    parts: dict[str, Callable[[Path, int], Found]] = {
        "loop": compare_loops, "ddp": compare_ddp, "checkpoint": checkpoint_cost, "start": first_step,
    }  # fmt: skip
    print(f"{os.cpu_count()} cores {platform.machine()}, torch {torch.__version__}, ray {ray.__version__}")
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder), arguments.rows)
        for name in arguments.only.split(","):
            found |= parts[name](Path(folder), arguments.rounds)
    print(json.dumps(found))


def write_table(folder: Path, num_rows: int) -> None:
    """Normal numbers whose sum decides the class, mostly: as arrays for the peers, as Parquet for us."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((num_rows, train_peers.NUM_FLOATS), dtype=np.float32)
    y = (x.sum(axis=1) + draw.standard_normal(num_rows) > 0).astype(np.int64)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    columns = {f"x{i}": x[:, i] for i in range(x.shape[1])} | {"y": y}
    # Ours also keeps rows back to judge by; with these it trains on as many as the peers.
    extra = {name: np.concatenate([column, column[:2000]]) for name, column in columns.items()}
    pq.write_table(pa.table(extra), folder / "table.parquet")


def experiment(folder: Path, name: str, num_rows: int, **train: Any) -> Experiment:
    """The peers' model and settings as ours."""
    settings = {
        "global_batch_size": train_peers.BATCH_ROWS, "peak_lr": train_peers.PEAK_LR, "early_stopping": None,
        "warmup_fraction": train_peers.WARMUP_FRACTION, "weight_decay": train_peers.WEIGHT_DECAY,
        "max_grad_norm": train_peers.MAX_GRAD_NORM, "device": "cpu",
    }  # fmt: skip
    share = 1000 / num_rows
    return Experiment.model_validate({
        "name": name, "storage": str(folder / "runs"), "track": {"tensorboard": False},
        "data": {
            "source": str(folder / "table.parquet"), "target": "y",
            "split": {"validation": share, "test": share},
        },
        "model": {"kind": "mlp", "hidden": list(train_peers.WIDTHS)},
        "train": settings | train,
    })  # fmt: skip


def compare_loops(folder: Path, rounds: int) -> Found:
    """Plain torch, Lightning and ours in this process, in turns."""
    table = train_peers.load(folder)
    num_rows = len(table[0])
    part = Part({"numeric": table[0].numpy()}, table[1].numpy())
    prepared = prepared_of(experiment(folder, "loop", num_rows + 2000))
    wanted = experiment(folder, "loop", num_rows, epochs=rounds + 1)
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    model = build_model(wanted.model, inputs, 0)
    ours = Trainer(wanted.train, model, prepared.facts, part, prepared.validation, PlainSession(), "accuracy")
    plain = train_peers.PlainLoop(table, rounds + 1)
    rows: list[tuple[float, float, float]] = []
    for i in range(rounds + 1):
        ours_s = ours.train_epoch()["seconds"]
        plain_s = plain.run_epoch()
        lightning_s = train_peers.lightning_epochs(table, 2)[1]
        if i:  # the first warms up
            rows.append((ours_s, plain_s, lightning_s))
    seconds = {
        name: statistics.median(column)
        for name, column in zip(("ours", "plain", "lightning"), zip(*rows, strict=True), strict=True)
    }
    for name, taken in seconds.items():
        print(f"  {name:<10} {num_rows / taken:>12,.0f} samples/s")
    return {
        "vs_plain_loop": round(statistics.median(plain / own for own, plain, _ in rows), 3),
        "vs_lightning": round(statistics.median(peer / own for own, _, peer in rows), 3),
    }


def prepared_of(wanted: Experiment) -> Prepared:
    """Its data."""
    return prepare(wanted.data)


def compare_ddp(folder: Path, rounds: int) -> Found:
    """Two processes under torchrun and two workers of ours, run by run."""
    num_rows = len(np.load(folder / "y.npy", mmap_mode="r"))
    prepared = prepared_of(experiment(folder, "ddp", num_rows + 2000))
    ratios, rates = [], []
    for i in range(max(2, rounds // 2)):
        peer = statistics.median(train_peers.ddp_epochs(folder, EPOCHS_A_RUN)[1:])
        wanted = experiment(folder, f"ddp-{i}", num_rows + 2000, epochs=EPOCHS_A_RUN, workers=2)
        ours = statistics.median(epoch_seconds(wanted, prepared, num_cpus=2)[1:])
        ratios.append(peer / ours)
        rates.append((num_rows / peer, num_rows / ours))
        print(f"  torchrun {rates[-1][0]:>12,.0f} samples/s   ours, 2 workers {rates[-1][1]:>12,.0f} samples/s")
    return {"vs_torchrun_ddp": round(statistics.median(ratios), 3)}


def epoch_seconds(wanted: Experiment, prepared: Prepared, num_cpus: int | None) -> list[float]:
    """Seconds of each epoch of a training by `fit`; with `num_cpus` on a Ray of its own."""
    run = RunFolder.of(wanted)
    run.open(wanted)
    if num_cpus:
        ray.init(
            address="local", num_cpus=num_cpus, include_dashboard=False, logging_level="ERROR", log_to_driver=False
        )
    try:
        fit(wanted, prepared, run, name="own", metric="accuracy", progress=Silent(), code_path="")
    finally:
        if num_cpus:
            ray.shutdown()
    return [event["seconds"] for event in run.journal.events("epoch")]


def checkpoint_cost(folder: Path, rounds: int) -> Found:
    """The same training with a checkpoint every 10 s and with none but the last, in turns."""
    num_rows = len(np.load(folder / "y.npy", mmap_mode="r"))
    prepared = prepared_of(experiment(folder, "cost", num_rows + 2000))
    wide: dict[str, Any] = {"model": {"kind": "mlp", "hidden": [1024, 1024, 1024]}}

    def epochs(name: str, num_epochs: int, max_interval_s: float) -> list[float]:
        # A loss every 20 s would ask for more checkpoints than one in 10 s: the bound decides.
        often = {"max_interval_s": max_interval_s, "mean_s_between_losses": 1e9}
        wanted = experiment(folder, name, num_rows + 2000, epochs=num_epochs, checkpoint=often)
        return epoch_seconds(
            wanted.model_copy(update={"model": Experiment.model_validate(wanted.model_dump() | wide).model}),
            prepared,
            None,
        )

    pace = statistics.median(epochs("pace", 2, 1e6))
    num_epochs = max(3, round(CHECKPOINT_RUN_S / pace))
    costs = []
    for i in range(max(2, rounds // 2)):
        without = sum(epochs(f"without-{i}", num_epochs, 1e6))
        with_s = sum(epochs(f"with-{i}", num_epochs, 10.0))
        costs.append(1 - without / with_s)
        print(f"  {num_epochs} epochs: {without:.1f} s without checkpoints, {with_s:.1f} s with one every 10 s")
    return {
        "checkpoint_cost_fraction": round(statistics.median(costs), 4),
        "checkpoint_cost_each": [round(cost, 4) for cost in costs],
    }


def first_step(folder: Path, rounds: int) -> Found:
    """From the shell to the first step: ours, and a TorchTrainer as Ray's guide has it."""
    own, stock, stages = [], [], []
    for i in range(max(2, rounds // 2)):
        wanted = experiment(folder, f"start-{i}", 402_000, epochs=1, global_batch_size=4096)
        (folder / "start.yaml").write_text(json.dumps(wanted.model_dump(mode="json", exclude_unset=True)))
        began = time.time()
        subprocess.run([MANTA, "train", folder / "start.yaml", "-q"], check=True)
        times = {
            event["event"]: event["time"] - began
            for event in RunFolder.of(wanted).journal.events("started", "data", "first_step")
        }
        own.append(times["first_step"])
        stages.append(
            {
                "command and imports": times["started"],
                "data": times["data"] - times["started"],
                "workers, model, step": times["first_step"] - times["data"],
            }
        )
        began = time.time()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.train_peers", "stock", folder], check=True, capture_output=True
        )
        stock.append(float((folder / "first-step").read_text()) - began)
        print(
            f"  first step after {own[-1]:.1f} s, stock TorchTrainer {stock[-1]:.1f} s; ours: "
            + ", ".join(f"{name} {value:.1f} s" for name, value in stages[-1].items())
        )
    return {
        "seconds_to_first_step": round(statistics.median(own), 2),
        "stock_torch_trainer_s": round(statistics.median(stock), 2),
        "where": {name: round(value, 2) for name, value in stages[-1].items()},
    }


if __name__ == "__main__":
    main()
