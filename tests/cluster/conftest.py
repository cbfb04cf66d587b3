"""An experiment and a Ray that tests of several commands share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.place import Place

IRIS = """
name: iris
data: {source: "sklearn:iris", target: target}
model: {kind: mlp, hidden: [4]}
train: {epochs: 2, global_batch_size: 32, early_stopping: null}
search: {space: {train.peak_lr: {log: [1.0e-4, 1.0e-1]}}}
"""


@pytest.fixture
def iris_config(tmp_path: Path) -> Path:
    path = tmp_path / "iris.yaml"
    path.write_text(IRIS)
    return path


@pytest.fixture
def shared_ray(ray_2_cpus: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tests' Ray in place of one of the command's own; notes how often one is asked for."""
    asked: list[str] = []

    @contextlib.contextmanager
    def session(self: Place) -> Iterator[None]:
        asked.append("session")
        yield

    monkeypatch.setattr(Place, "session", session)
    return asked
