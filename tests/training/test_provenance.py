"""What a run keeps of its code, versions, machine and command line, and what it must not keep."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.config import Experiment
from training.own_code import own_files
from training.pipeline import working
from training.progress import Silent
from training.provenance import FILE, Provenance, digest_of, provenance_of, without_secrets
from training.run_folder import RunFolder


def experiment(folder: Path, **more: object) -> Experiment:
    data = {"source": "sklearn:iris", "target": "target", "split": {"seed": 3}}
    return Experiment.model_validate(
        {"name": "iris", "storage": str(folder), "data": data, "train": {"seed": 5}} | more
    )


def write_code(folder: Path) -> None:
    (folder / "mine" / "deep").mkdir(parents=True)
    (folder / "mine" / "__init__.py").write_text("")
    (folder / "mine" / "nets.py").write_text("import torch\nfrom . import parts\nfrom .deep.more import x\n")
    (folder / "mine" / "parts.py").write_text("def part():\n    import helper\n")
    (folder / "mine" / "deep" / "more.py").write_text("from ..parts import part as x\n")
    (folder / "helper.py").write_text("")
    (folder / "unrelated.py").write_text("")


OWN = {"target": "mine.nets:Net"}


def test_own_code_is_what_the_experiment_names_and_what_that_imports(tmp_path: Path) -> None:
    write_code(tmp_path)
    found = own_files(experiment(tmp_path, model=OWN), tmp_path)
    assert sorted(found) == ["helper.py", "mine/__init__.py", "mine/deep/more.py", "mine/nets.py", "mine/parts.py"]
    assert own_files(experiment(tmp_path), tmp_path) == {}, "an experiment without code of its own has none"


def test_the_digest_follows_contents_and_names_and_not_the_place(tmp_path: Path) -> None:
    for name in ("here", "there"):
        write_code(tmp_path / name)
    wanted = experiment(tmp_path, model=OWN)
    here, there = (digest_of(own_files(wanted, tmp_path / name)) for name in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "unrelated.py").write_text("changed")
    assert digest_of(own_files(wanted, tmp_path / "there")) == here
    (tmp_path / "there" / "helper.py").write_text("changed")
    assert digest_of(own_files(wanted, tmp_path / "there")) != here


def test_a_run_keeps_it_in_a_file_and_in_its_journal(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    with working(wanted, Silent(), "train"):
        pass
    run = RunFolder.of(wanted)
    found = Provenance.model_validate(json.loads((run.path / FILE).read_text()))
    started = run.journal.last("started")
    assert started is not None
    assert Provenance.model_validate(started["provenance"]) == found
    assert found.seeds == {"train.seed": 5, "data.split.seed": 3}
    assert found.code.num_files > 200
    assert {"python", "torch", "ray", "numpy", "scikit-learn"} <= set(found.versions)
    assert found.machine.num_cores >= 1
    assert found.machine.cpu_flags
    assert (found.own_code.digest, found.own_code.num_files) == ("", 0)


def test_a_checkouts_commit_and_changes_are_known(tmp_path: Path) -> None:
    write_code(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    wanted = experiment(tmp_path / "runs", model=OWN)
    assert provenance_of(wanted, str(tmp_path)).own_code.commit is None, "no checkout is no failure"
    for command in (["init", "-q"], ["add", "mine", "helper.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    clean = provenance_of(wanted, str(tmp_path)).own_code
    assert (len(clean.commit or ""), clean.is_dirty) == (40, False)
    (tmp_path / "helper.py").write_text("changed")
    dirty = provenance_of(wanted, str(tmp_path)).own_code
    assert (dirty.commit, dirty.is_dirty) == (clean.commit, True)


def test_no_secret_and_no_variable_of_the_environment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET_VARIABLE", "hunter2-in-the-environment")
    uri = "data.source=postgresql://me:hunter2@host/db?sslpassword=hunter2"
    monkeypatch.setattr(sys, "argv", ["manta", "train", "--set", uri, "--api-token", "hunter2", "--token=hunter2"])
    told = provenance_of(experiment(tmp_path)).model_dump_json()
    assert "hunter2" not in told
    assert "postgresql://me:***@host" in told
    assert without_secrets(["run", "a.yaml", "--set", "train.seed=3"]) == ("run", "a.yaml", "--set", "train.seed=3")
