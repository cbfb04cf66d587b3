"""Packing: what is written can be loaded, replays its golden rows, and says in words what it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from safetensors.numpy import load_file

from training.compress.compress import compress
from training.compress.held_out import HeldOut
from training.compress.job import Job
from training.compress.tasks import Trained
from training.config import Experiment
from training.data.config import DataConfig
from training.data.table import infer_schema
from training.features import fit_transforms
from training.models import ModelInputs, build_model
from training.package.machine import this_machine
from training.package.manifest import Lineage, Manifest, Task
from training.package.read import load_package
from training.package.runtime import VariantRunner
from training.package.transforms import FeatureEncoder, inputs_from_table
from training.packing import Contents, build_package, pick_golden_rows
from training.progress import Silent

NUM_ROWS = 120
RNG = np.random.default_rng(0)


def people() -> pa.Table:
    age = RNG.integers(17, 90, NUM_ROWS).astype(float).tolist()
    city: list[str | None] = RNG.choice(["Rome", "Oslo", "São | Paulo"], NUM_ROWS).tolist()
    age[50], age[70], city[60] = None, None, None
    income = RNG.choice([">50K", "<=50K"], NUM_ROWS).tolist()
    return pa.table({"age": age, "city": city, "income": income, "rent": RNG.normal(900, 200, NUM_ROWS)})


def packed(folder: Path, target: str, **model: Any) -> tuple[Manifest, pa.Table]:
    experiment = Experiment.model_validate(
        {
            "name": "people",
            "data": {"source": "people.csv", "target": target},
            "model": model,
            "compress": {"measure_s": 0.02, "forms": ["int8"], "openvino": False},
            "card": {"intended_use": "to learn how packing works", "owner": "nobody"},
        }
    )
    table = people()
    schema = infer_schema(table, experiment.data)
    task: Task = schema.task
    transforms, inputs = fit_transforms(table, schema, experiment.data)
    network = build_model(experiment.model, ModelInputs.of(transforms, len(schema.labels) or 1), seed=0)
    goal = RNG.integers(0, 2, NUM_ROWS) if task == "classification" else np.array(table["rent"].to_pylist(), np.float32)
    metric, mode = ("accuracy", "max") if task == "classification" else ("rmse", "min")
    encode = FeatureEncoder(transforms)
    tensors = encode(inputs_from_table(table, inputs))
    golden_rows = pick_golden_rows(table, inputs)
    trained = Trained(
        experiment, network.state_dict(), ModelInputs.of(transforms, len(schema.labels) or 1), task, metric, tensors,
        target_mean=900.0, target_scale=200.0,
    )  # fmt: skip
    job = Job(
        trained, HeldOut(task, schema.labels, tensors, goal), encode(golden_rows), tensors, metric,
        mode, experiment.compress,  # type: ignore[arg-type]  # a literal in a tuple
    )  # fmt: skip
    contents = Contents(
        experiment=experiment,
        task=task,
        labels=schema.labels,
        inputs=inputs,
        transforms=transforms,
        compressed=compress(job, Silent()),
        golden_rows=golden_rows,
        weights=network.state_dict(),
        metric=f"test/{metric}",
        metric_mode=mode,  # type: ignore[arg-type]
        lineage=Lineage(
            run="people", trial="t0003", data_fingerprint="abc", versions={"torch": "2"}, machine="a CPU",
            num_rows={"train": 84, "validation": 18, "test": 18},
        ),
        target_mean=900.0,
        target_scale=200.0,
    )  # fmt: skip
    return build_package(folder, contents), table


@pytest.mark.parametrize("target", ["income", "rent"])
def test_a_package_loads_and_every_variant_replays_its_golden_rows(target: str, tmp_path: Path) -> None:
    manifest, _ = packed(tmp_path / "package", target, hidden=[128, 128])
    package = load_package(tmp_path / "package")
    assert package.manifest == manifest
    assert package.golden.num_rows == 16
    tensors = FeatureEncoder(package.transforms)(package.golden.arrays(manifest.inputs))
    name = "probabilities" if target == "income" else "prediction"
    for variant in manifest.variants:
        scores = VariantRunner(tmp_path / "package" / variant.file)(tensors)
        golden = np.array(package.golden.outputs[variant.name][name], np.float32)
        np.testing.assert_array_equal(scores, golden)
        assert 0 < variant.tolerance < (0.06 if target == "income" else 12)
    assert [output.name for output in manifest.outputs] == (["label", name] if target == "income" else [name])


def test_golden_rows_hold_missing_values_where_there_are_some(tmp_path: Path) -> None:
    manifest, table = packed(tmp_path / "package", "income", hidden=[8])
    golden = load_package(tmp_path / "package").golden
    assert golden.inputs["age"].count(None) == 2
    assert golden.inputs["city"].count(None) == 1
    assert len(pick_golden_rows(table.slice(0, 5), manifest.inputs)["age"]) == 5


def test_the_package_keeps_the_weights_and_the_resolved_experiment(tmp_path: Path) -> None:
    packed(tmp_path / "package", "income", hidden=[8])
    weights = load_file(tmp_path / "package" / "weights.safetensors")
    assert weights["layers.0.weight"].shape[0] == 8
    stored = yaml.safe_load((tmp_path / "package" / "experiment.yaml").read_text())
    assert Experiment.model_validate(stored).data == DataConfig(source="people.csv", target="income")


def test_the_model_card_can_be_read_and_its_table_survives_odd_names(tmp_path: Path) -> None:
    manifest, _ = packed(tmp_path / "package", "income", hidden=[8])
    card = (tmp_path / "package" / "MODEL_CARD.md").read_text()
    for needed in (
        "# people",
        "Predicts `income`",
        "84 train",
        "São \\| Paulo",
        manifest.chosen_reason,
        "t0003",
        "to learn how packing works",
        this_machine().cpu,
    ):
        assert needed in card
    body = card.split("-d '")[1].split("'\n")[0]
    assert set(json.loads(body)[0]) == {"age", "city", "rent"}
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == rows[0].count("|") for line in rows[:5])
