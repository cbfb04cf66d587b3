"""A run's folder belongs to one experiment, and to one process at a time."""

import os
from pathlib import Path

import pytest

from training.config import Experiment
from training.errors import StorageError
from training.run_folder import RunFolder, differences, storage_root


def experiment(storage: Path, **more: object) -> Experiment:
    raw = {"name": "one", "storage": str(storage), "data": {"source": "sklearn:iris", "target": "target"}}
    return Experiment.model_validate(raw | more)


def test_another_experiment_in_the_same_folder_is_refused_with_what_differs(tmp_path: Path) -> None:
    first = experiment(tmp_path)
    RunFolder.of(first).open(first)
    RunFolder.of(first).open(experiment(tmp_path, serve={"port": 9000}, train={"workers": 2}))  # decides nothing
    with pytest.raises(StorageError, match=r"train.peak_lr: 0.003 -> 0.1"):
        RunFolder.of(first).open(experiment(tmp_path, train={"peak_lr": 0.1}))


def test_two_processes_on_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run_folder.DYING_S", 0.2)
    run = RunFolder.of(experiment(tmp_path))
    with run.alone(), pytest.raises(StorageError, match="another process"), run.alone():
        pass
    with run.alone():
        pass


def test_storage_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = experiment(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot be written"):
        RunFolder.of(blocked).open(blocked)
    if os.geteuid() == 0:  # root may write anywhere but into /proc
        with pytest.raises(StorageError, match="cannot be written"):
            RunFolder.of(experiment(Path("/proc/runs"))).open(experiment(Path("/proc/runs")))


def test_what_lies_in_a_store_is_worked_on_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = storage_root("s3://bucket/a"), storage_root("s3://bucket/b")
    assert one.is_relative_to(tmp_path)
    assert one != other


def test_differences_name_leaves() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}}) == ["a.d: null -> 3", "a.c: 2 -> null"]


def test_differences_have_values_as_yaml_has_them() -> None:
    earlier = {"metric": None, "fuse": True, "hidden": [8, 8], "loss": {"kind": "auto"}, "name": "1"}
    now = {"metric": "validation/f1", "fuse": "auto", "hidden": None, "loss": {"kind": "focal"}, "name": 1}
    assert differences(earlier, now) == [
        "metric: null -> validation/f1", "fuse: true -> auto", "hidden: [8, 8] -> null", "loss.kind: auto -> focal",
        "name: '1' -> 1",
    ]  # fmt: skip
    assert differences([*range(200)], {"a": [{"b": None}]}) == [f": {[*range(200)]} -> {{a: [{{b: null}}]}}"]
