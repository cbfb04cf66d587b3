"""Small models with made-up rows, ready to be compressed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from training.compress.job import Job
from training.compress.of_run import job_of
from training.config import Experiment
from training.data.prepare import prepare
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model
from training.packing import pick_golden_rows
from training.session import PlainSession

NUM_ROWS = 300


def people(num_rows: int = NUM_ROWS) -> pa.Table:
    """Rows with a number, a category, and two targets: a class and an amount."""
    rng = np.random.default_rng(0)
    age = rng.integers(17, 90, num_rows)
    city = rng.choice(["Rome", "Oslo", "Lima"], num_rows)
    is_rich = (age > 50) ^ (city == "Oslo")
    return pa.table({
        "age": pa.array(age.astype(float), mask=np.arange(num_rows) % 29 == 0), "city": city,
        "rent": 500 + 10.0 * age + rng.normal(0, 20, num_rows), "income": np.where(is_rich, "high", "low"),
    })  # fmt: skip


def experiment_of(folder: Path, compress: dict[str, Any] | None = None, **more: Any) -> Experiment:
    """An experiment on these people, whose table is written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    csv.write_csv(people(), folder / "people.csv")
    target, other = more.pop("target", "income"), more.pop("other", "rent")
    return Experiment.model_validate({
        "name": "people", "storage": str(folder / "runs"),
        "data": {"source": str(folder / "people.csv"), "target": target, "ignore": [other]},
        "model": {"kind": "mlp", "hidden": [128, 128]}, "train": {"epochs": 2, "global_batch_size": 32},
        "compress": {"measure_s": 0.02, "openvino": False} | (compress or {}),
    } | more)  # fmt: skip


def job_on(experiment: Experiment, *, learns: bool = False) -> Job:
    """Compression of a model that has learned nothing yet, or what its epochs teach it."""
    prepared = prepare(experiment.data)
    facts = prepared.facts
    model = build_model(experiment.model, ModelInputs.of(facts.transforms, facts.num_outputs), 0)
    metric = "accuracy" if facts.labels else "rmse"
    if learns:
        trainer = Trainer(
            experiment.train, model, facts, prepared.train, prepared.validation, PlainSession(), metric
        )  # fmt: skip
        run_to_end(trainer, trainer.session)
    rows = pick_golden_rows(prepared.test_rows, facts.inputs)
    return job_of(experiment, prepared, model.state_dict(), metric=metric, golden_rows=rows, code_path="")
