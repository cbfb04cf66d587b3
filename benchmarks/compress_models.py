"""The three models of `benchmarks.compress`: what they learn from, and how. Trained here, in this process."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.datasets import load_digits

from benchmarks import adult_like
from benchmarks.prepare import ADULT_COLUMNS
from training.compress.job import Job
from training.compress.of_run import job_of
from training.config import Experiment
from training.data.prepare import prepare
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model
from training.packing import pick_golden_rows
from training.session import PlainSession

MADE_UP_ROWS = 48_000
SIDE = 32
METRIC = "accuracy"


@dataclass(frozen=True)
class Subject:
    """One model to compress."""

    name: str
    data: str  # in words
    experiment: dict[str, Any]


def mlp(folder: Path, adult: str | None, adult_test: str | None) -> Subject:
    """3 x 1,024 on Adult, or on a made-up table like it."""
    if adult is None:
        adult_like.write(folder / "adult.parquet", MADE_UP_ROWS)
        data: dict[str, Any] = {"source": str(folder / "adult.parquet"), "target": "income"}
        words = f"a made-up table like Adult, {MADE_UP_ROWS:,} rows"
    else:
        data = {"source": adult, "target": ADULT_COLUMNS[-1], "missing": ["?"]}
        if _has_no_header(adult):
            data["names"] = list(ADULT_COLUMNS)
        data |= {"test": adult_test} if adult_test else {}
        words = "Adult (UCI census income)"
        data["rename_labels"] = {"<=50K.": "<=50K", ">50K.": ">50K"}
    train = {"epochs": 6, "global_batch_size": 512, "peak_lr": 2e-3}
    model = {"kind": "mlp", "hidden": [1024, 1024, 1024], "dropout": 0.2}
    return Subject("mlp", words, {"name": "mlp", "data": data, "model": model, "train": train})


def resnet(folder: Path, width: int, epochs: int) -> Subject:
    """A ResNet-18 on scikit-learn's digits, drawn 32 pixels high."""
    images, target = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8), np.ones((SIDE // 8, SIDE // 8))).astype(np.float32)
    columns = {f"p{i}": pixel for i, pixel in enumerate(large.reshape(len(large), -1).T)}
    pq.write_table(pa.table(columns | {"digit": target.astype(str)}), folder / "images.parquet")
    data = {"source": str(folder / "images.parquet"), "target": "digit", "image_shape": [1, SIDE, SIDE]}
    model = {"kind": "resnet", "depths": [2, 2, 2, 2], "width": width}
    train = {"epochs": epochs, "global_batch_size": 64, "peak_lr": 2e-3}
    return Subject("resnet", "scikit-learn's digits at 32x32 pixels (real, enlarged)",
                   {"name": "resnet", "data": data, "model": model, "train": train})  # fmt: skip


def transformer(folder: Path, dim: int, epochs: int) -> Subject:
    """Six layers on scikit-learn's digits, read as texts of 64 words, one a pixel."""
    images, target = load_digits(return_X_y=True)
    texts = [" ".join(f"w{int(pixel)}" for pixel in image) for image in images]
    pq.write_table(pa.table({"text": texts, "digit": target.astype(str)}), folder / "texts.parquet")
    data = {
        "source": str(folder / "texts.parquet"), "target": "digit",
        "columns": {"text": {"kind": "text", "max_tokens": 64}},
    }  # fmt: skip
    model = {"kind": "transformer", "layers": 6, "dim": dim, "heads": 8, "dropout": 0.0}
    train = {"epochs": epochs, "global_batch_size": 32, "peak_lr": 1e-3}
    return Subject("transformer", "scikit-learn's digits as texts of 64 words (real, spelled out)",
                   {"name": "transformer", "data": data, "model": model, "train": train})  # fmt: skip


def trained(subject: Subject, compress: dict[str, Any]) -> tuple[Job, torch.nn.Module]:
    """Train it, and what compression then needs of it."""
    experiment = Experiment.model_validate(subject.experiment | {"compress": compress})
    prepared = prepare(experiment.data)
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    model = build_model(experiment.model, inputs, 0)
    session = PlainSession()
    trainer = Trainer(experiment.train, model, prepared.facts, prepared.train, prepared.validation, session, METRIC)
    run_to_end(trainer, session)
    weights = trainer.checkpoint()["best"]["model"]
    golden = pick_golden_rows(prepared.test_rows, prepared.facts.inputs)
    job = job_of(experiment, prepared, weights, metric=METRIC, golden_rows=golden, code_path="")
    return job, job.trained.module()


def _has_no_header(path: str) -> bool:
    with Path(path).open(newline="") as file:
        return "age" not in next(csv.reader(file))
