"""Run folders as a pipeline would leave them, written line by line. Numbers are made up, shapes are the real ones."""

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

NASTY = '<script>alert("x")</script>'
STARTED = 1_760_000_000.0
EXPERIMENT = {
    "name": "adult",
    "data": {"source": "data/adult-train.csv", "test": "data/adult-test.csv", "target": "income"},
    "model": {"kind": "mlp", "hidden": [256, 256]},
    "search": {
        "metric": "validation/accuracy",
        "trials": 40,
        "space": {
            "train.peak_lr": {"log": [1e-4, 1e-1]},
            "model.hidden": {"choice": [[128], [256, 256], [512, 256, 128]]},
            "model.dropout": {"range": [0.0, 0.5]},
            "train.global_batch_size": {"choice": [128, 256, 512]},
        },
    },
}


class MadeUpRun:
    """Writes events one after the other, with a clock of its own."""

    def __init__(self, folder: Path, experiment: dict[str, Any] | None = None) -> None:
        self.folder, self.now = folder, STARTED
        folder.mkdir(parents=True)
        (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment or EXPERIMENT, sort_keys=False))

    def event(self, kind: str, after_s: float = 1.0, /, **fields: Any) -> None:
        self.now += after_s
        with (self.folder / "journal.jsonl").open("a") as file:
            file.write(json.dumps({"event": kind, "time": self.now, **fields}) + "\n")

    def start(self, machine: str = "AMD EPYC 7763, 2 cores, avx2", command: str = "run configs/adult.yaml") -> None:
        versions = {"manta": "0.1.0", "python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "onnxruntime": "1.32.0"}
        self.event("started", command=command, versions=versions, machine=machine)

    def data(self, labels: tuple[str, ...] = ("<=50K", ">50K")) -> None:
        self.event(
            "data", 2.4, num_rows={"train": 27_676, "validation": 4_885, "test": 16_281}, fingerprint="9f3c" * 16,
            task="classification", labels=labels, num_features=14,
        )  # fmt: skip

    def trials(
        self, num: int = 40, cause: str = "the loss is not finite at step 12; a lower train.peak_lr helps"
    ) -> None:
        rng = random.Random(0)
        for i in range(num):
            params = {
                "train.peak_lr": 10 ** rng.uniform(-4, -1),
                "model.hidden": rng.choice([[128], [256, 256], [512, 256, 128]]),
                "model.dropout": rng.uniform(0, 0.5),
                "train.global_batch_size": rng.choice([128, 256, 512]),
            }
            quality = 0.86 - 0.012 * (math.log10(params["train.peak_lr"]) + 2.5) ** 2 - 0.02 * params["model.dropout"]
            state = "failed" if i % 13 == 12 else "pruned" if i % 3 and quality < 0.85 else "complete"
            epochs = 0 if state == "failed" else rng.choice([2, 6]) if state == "pruned" else 20
            curve = [quality - 0.06 * math.exp(-e / 3) + rng.gauss(0, 0.001) for e in range(epochs)]
            self.event(
                "trial", 1.7, trial=f"t{i:04d}", state=state, params=params, score=max(curve) if curve else None,
                epochs=epochs, seconds=0.3 * epochs + 0.2, cause=cause if state == "failed" else None, curve=curve,
            )  # fmt: skip

    def searched(self) -> None:
        self.event(
            "searched", best_trial="t0003", best_score=0.8611, metric="validation/accuracy", mode="max",
            num_complete=17, num_pruned=20, num_failed=3, seconds=71.2, params={"train.peak_lr": 0.003},
        )  # fmt: skip

    def epochs(self, num: int = 22, first: int = 1, **measured: Any) -> None:
        for epoch in range(first, num + 1):
            fall = math.exp(-epoch / 5)
            metrics = {
                "train/loss": 0.29 + 0.2 * fall - 0.001 * epoch,
                "validation/loss": 0.31 + 0.16 * fall + 0.0006 * epoch,
                "validation/accuracy": 0.857 - 0.06 * fall - 0.00002 * (epoch - 14) ** 2,
            }
            self.event("epoch", 1.1, epoch=epoch, metrics=metrics, seconds=1.0, **measured)

    def fitted(self) -> None:
        metrics = {"validation/accuracy": 0.8571, "validation/loss": 0.318, "validation/roc_auc": 0.9132}
        self.event(
            "fit",
            best_epoch=14,
            metrics=metrics,
            seconds=41.0,
            num_workers=2,
            checkpoint="checkpoints/x",
            trial="t0003",
        )

    def compressed(
        self, reason: str = "int8 is faster and keeps the score: one row in 0.091 ms against 0.312 ms"
    ) -> None:
        def variant(name: str, score: float, size: int, times: tuple[float, float], fraction: float) -> dict[str, Any]:
            return {
                "name": name, "file": f"variants/{name}.onnx", "runtime": "onnxruntime", "size_bytes": size,
                "metrics": {"test/accuracy": score, "test/roc_auc": 0.91},
                "latency": {
                    batch_size: {"p50_ms": p50, "p99_ms": 1.7 * p50}
                    for batch_size, p50 in zip(("1", "32"), times, strict=True)
                },
                "weights_quantized_fraction": fraction, "tolerance": 1e-4, "offered": True, "note": f"about {name}",
            }  # fmt: skip

        self.event(
            "compressed", 9.0, chosen="int8", reason=reason, metric="test/accuracy", seconds=9.0,
            variants=[
                variant("fp32", 0.8561, 8_715_839, (0.312, 0.90), 0.0),
                variant("int8", 0.8559, 2_238_760, (0.091, 0.39), 0.995),
            ],
        )  # fmt: skip

    def finish(self) -> None:
        self.event("packaged", path=str(self.folder / "package"), score=0.8559, metric="test/accuracy")
        self.event("registered", name="adult", version=3)
        self.event(
            "served", 8.0, url="http://127.0.0.1:8000", num_rows=1000, agree_fraction=1.0, p50_ms=2.1, p99_ms=5.4
        )
        self.event("finished", seconds=140.0)


def full_run(folder: Path) -> Path:
    """Search, training, compression, serving: everything there is."""
    run = MadeUpRun(folder)
    run.start()
    run.data()
    run.trials()
    run.searched()
    run.epochs()
    run.fitted()
    run.compressed()
    run.finish()
    return folder


def interrupted_run(folder: Path) -> Path:
    """A training on machines that went, with what hosts measure beside the scores."""
    run = MadeUpRun(folder, {"name": "adult", "data": EXPERIMENT["data"]})
    run.start()
    run.data()
    run.event("micro_batch", rows=128, share=256, step=0)
    run.epochs(6, samples_per_s=41_200.0, wait_fraction=0.012, lr=3e-3, workers=2)
    run.event("preempted", step=371, what="node 10.0.0.7 is being drained", kind="left", workers=2)
    run.event("resumed", 9.0, step=371, epoch=6, checkpoint="00000371", workers=1, seconds=8.7, steps_lost=0)
    run.epochs(11, first=7, samples_per_s=20_900.0, wait_fraction=0.004, lr=2e-3, workers=1)
    gone = "worker 0 on 10.0.0.8 (pid 4711) was killed or crashed: its process ended without an error of its own"
    run.event("worker_lost", step=702, what=gone, kind="crash", workers=1)
    run.event("resumed", 14.0, step=660, epoch=10, checkpoint="00000660", workers=2, seconds=13.2, steps_lost=42)
    run.epochs(14, first=11, samples_per_s=41_000.0, wait_fraction=0.31, lr=1e-3, workers=2)
    run.event("diverged", step=850, epoch=15, what="the loss became nan", rows=[1, 2], action="rollback", to_step=780,
              lr_scale=0.5)  # fmt: skip
    run.epochs(17, first=13, samples_per_s=41_000.0, wait_fraction=0.02, lr=5e-4, workers=2)
    run.start()
    run.event("resumed", 3.0, step=1105, epoch=17, checkpoint="00001105", workers=2, seconds=2.1, steps_lost=0)
    run.epochs(22, first=18, samples_per_s=41_000.0, wait_fraction=0.02, lr=1e-4, workers=2)
    run.fitted()
    return folder


def nasty_run(folder: Path) -> Path:
    """Markup wherever a text can come from outside."""
    run = MadeUpRun(folder, {"name": NASTY, "data": {"source": NASTY, "target": NASTY}})
    run.start(machine=NASTY, command=NASTY)
    run.data((NASTY, "b"))
    run.event(
        "trial", trial=NASTY, state="complete", params={NASTY: NASTY}, score=0.5, epochs=1, seconds=1.0, cause=None,
        curve=[0.5],
    )  # fmt: skip
    run.event("trial", trial="t2", state="failed", params={}, score=None, epochs=0, seconds=1.0, cause=NASTY, curve=[])
    run.compressed(NASTY)
    run.event("packaged", path=NASTY, score=0.5, metric=NASTY)
    run.event("registered", name=NASTY, version=1)
    run.event("served", url=NASTY)
    run.event("failed", stage=NASTY, message=NASTY)
    return folder
