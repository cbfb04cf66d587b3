"""Ray Train with real workers: kills, resume, errors, impossible requests."""

from pathlib import Path

import pytest
import torch

from training.config import Experiment
from training.data.prepare import prepare
from training.errors import CapacityError, TrainingFailed
from training.fit import FitResult, fit
from training.progress import Silent
from training.run_folder import RunFolder


def experiment(storage: Path, name: str, model: dict | None = None, **train: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": name,
            "storage": str(storage),
            "data": {"source": "sklearn:iris", "target": "target"},
            "model": model or {"kind": "mlp", "hidden": [8]},
            "train": {"epochs": 4, "global_batch_size": 32, "early_stopping": None} | train,
        }
    )


def run(wanted: Experiment) -> FitResult:
    folder = RunFolder.of(wanted)
    folder.open(wanted)
    return fit(wanted, prepare(wanted.data), folder, name="own", metric="accuracy", progress=Silent(), code_path="")


def dying(marker: Path, rank: int = 0) -> dict:
    # 105 training rows in batches of 32 are 4 steps an epoch; step 10 is in the third.
    return {"target": "tests.training.nets:DiesOnce", "args": {"marker": str(marker), "at_step": 10, "rank": rank}}


def epochs(wanted: Experiment) -> list[int]:
    return [event["epoch"] for event in RunFolder.of(wanted).journal.events("epoch")]


@pytest.fixture(scope="module")
def unbroken(ray_2_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """Two workers, nobody dies: the marker is there already."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "died").touch()
    return run(experiment(folder, "unbroken", dying(folder / "died"), workers=2))


def test_killed_worker_ends_with_the_weights_of_an_unbroken_run(unbroken: FitResult, tmp_path: Path) -> None:
    """Rank 1 of 2 is killed in epoch 3 of 4. Same seed and order, so the weights must be equal, not close."""
    marker = tmp_path / "died"
    broken = experiment(tmp_path, "broken", dying(marker, rank=1), workers=2)
    result = run(broken)
    assert marker.exists()
    assert epochs(broken) == [1, 2, 3, 4]
    assert all(torch.equal(result.weights[name], unbroken.weights[name]) for name in result.weights)
    assert (result.num_workers, result.best_epoch) == (2, unbroken.best_epoch)


def test_two_workers_learn_what_one_learns(unbroken: FitResult, tmp_path: Path) -> None:
    (tmp_path / "died").touch()
    one = run(experiment(tmp_path, "one", dying(tmp_path / "died")))
    assert all(torch.allclose(one.weights[name], unbroken.weights[name], atol=1e-5) for name in one.weights)
    assert one.metrics["validation/accuracy"] == pytest.approx(unbroken.metrics["validation/accuracy"])


def test_a_workers_error_comes_out_as_one_line(ray_2_cpus: None, tmp_path: Path) -> None:
    failing = experiment(tmp_path, "failing", {"target": "tests.training.nets:Raises"})
    with pytest.raises(TrainingFailed, match="worker 0 failed: RuntimeError: width 0 is below 10"):
        run(failing)


def test_more_workers_than_can_ever_start(ray_2_cpus: None, tmp_path: Path) -> None:
    with pytest.raises(CapacityError, match=r"--set train\.workers=2"):
        run(experiment(tmp_path, "many", workers=7))
    with pytest.raises(CapacityError, match="1 GPU each can never start"):
        run(experiment(tmp_path, "gpu", device="gpu"))
