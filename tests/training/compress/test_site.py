"""Where forms are made and measured: as tasks of Ray on the nodes that will serve them, or an error at once."""

import os
from pathlib import Path

import pytest

from tests.training.compress.made_up_jobs import experiment_of, job_on
from training.compress import compress as room
from training.compress.compress import compress
from training.compress.recipe import Learn
from training.compress.site import Here, OnNodes, site_of
from training.compress.tasks import Left, Made, learn
from training.compress_config import CompressConfig
from training.errors import CapacityError
from training.progress import Silent

LABELLED = CompressConfig.model_validate({"target": {"label": {"market": "spot"}}})


def pid_and(value: int) -> tuple[int, int]:
    return os.getpid(), value


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have started one."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.mark.usefixtures("no_ray")
def test_without_a_cluster_work_is_done_here() -> None:
    assert isinstance(site_of(CompressConfig()), Here)
    assert Here().run(pid_and, [(1,), (2,)], num_cpus=1) == [(os.getpid(), 1), (os.getpid(), 2)]


@pytest.mark.usefixtures("no_ray")
def test_a_target_that_this_machine_is_not_is_refused() -> None:
    with pytest.raises(CapacityError, match="names nodes with labels"):
        site_of(LABELLED)
    with pytest.raises(CapacityError, match="torch sees no GPU"):
        site_of(CompressConfig(target="gpu"))


@pytest.mark.usefixtures("ray_2_cpus")
def test_tasks_run_in_other_processes_and_keep_their_order() -> None:
    site = OnNodes(CompressConfig())
    shared = site.share(7)
    found = site.run(pid_and, [(shared,), (8,)], num_cpus=1)
    assert [value for _, value in found] == [7, 8]
    assert all(pid != os.getpid() for pid, _ in found)


@pytest.mark.usefixtures("ray_2_cpus")
def test_a_label_that_no_node_has_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(CapacityError, match=r"no node with market=spot has 1 CPU: 0 of 1 node\(s\) have the label"):
        OnNodes(LABELLED).run(pid_and, [(1,)], num_cpus=1)
    with pytest.raises(CapacityError):
        OnNodes(CompressConfig(target="gpu")).run(pid_and, [(1,)], num_cpus=1)


@pytest.mark.usefixtures("ray_2_cpus")
def test_a_model_is_compressed_by_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "site_of", OnNodes)
    result = compress(job_on(experiment_of(tmp_path, {"forms": ["int8"]})), Silent())
    assert [variant.name for variant in result.variants] == ["fp32", "int8"]
    assert result.comparison.costs["int8"].memory_mb is not None


def test_what_is_learned_says_its_steps_and_what_fails_its_reason(tmp_path: Path) -> None:
    settings = {"prune": {"sparsity": [0.5], "epochs": 1}, "distil": {"trials": 1, "epochs": 1}}
    trained = job_on(experiment_of(tmp_path, settings)).trained
    pruned = learn(trained, Learn(0.5), None, "cpu")
    assert isinstance(pruned, Made)
    assert pruned.steps == ("structured-50",)
    assert len(pruned.onnx) < 60_000  # of 80,000 with all units
    taught = learn(trained, Learn(0.5, distils=True), None, "cpu")
    assert isinstance(taught, Made)
    assert taught.steps == ("structured-50", "taught")
    none_left = trained.experiment.model_copy(update={"compress": CompressConfig.model_validate(
        {"prune": {"sparsity": [0.5], "kind": "magnitude", "epochs": 1, "peak_lr": 0.99}})})  # fmt: skip
    from dataclasses import replace

    found = learn(replace(trained, experiment=none_left, metric="no_such_score"), Learn(0.5), None, "cpu")
    assert isinstance(found, Left)
    assert found.reason
