"""A run with a journal, and a server that it may tell."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.tracking.mlflow_fake import MlflowFake
from training.config import Experiment
from training.run_folder import RunFolder

SECRET = "hunter2"


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowFake]:
    """An MLflow server on this machine, to stop and to start."""
    for name in ("TRACKING_TOKEN", "TRACKING_USERNAME", "TRACKING_PASSWORD", "EXPERIMENT_NAME"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    fake = MlflowFake()
    yield fake
    fake.holds.set()
    fake.stop()


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    data = {"source": f"postgresql://me:{SECRET}@db/x", "query": "select 1", "target": "y"}
    return Experiment.model_validate({"name": "digits", "storage": str(tmp_path), "data": data})


@pytest.fixture
def run(experiment: Experiment) -> RunFolder:
    folder = RunFolder.of(experiment)
    folder.open(experiment)
    folder.journal.append("started", versions={"manta": "0.1.0", "torch": "2.13.0"})
    folder.journal.append("data", fingerprint="9f3c")
    return folder


def add_epoch(run: RunFolder, epoch: int, score: float | None = 0.9) -> dict[str, float]:
    """As a host does: into the journal first."""
    metrics = {"train/loss": 1 / epoch, "validation/accuracy": score}
    run.journal.append("epoch", epoch=epoch, metrics=metrics, seconds=0.1, training="own")
    return {name: value for name, value in metrics.items() if value is not None}
