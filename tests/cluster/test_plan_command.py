"""`manta plan`: what a search would do and take, in the terminal."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from training.errors import CapacityError, ConfigError

PLANNED = """
name: planned
data: {source: "sklearn:iris", target: target}
model: {kind: mlp, hidden: [4]}
train: {epochs: 4, global_batch_size: 32, early_stopping: null}
search:
  trials: 12
  fuse: false
  usd_per_device_hour: 0.5
  space:
    train.peak_lr: {log: [1.0e-4, 1.0e-1]}
    model.hidden: {ordered: [[4], [64, 64]]}
    train.optimizer.kind: {choice: [adamw, sgd]}
    train.optimizer.momentum: {range: [0.5, 0.9], step: 0.1, when: {train.optimizer.kind: sgd}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planned.yaml").write_text(PLANNED)
    return tmp_path


def planned(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", "planned.yaml", *arguments], catch_exceptions=False)


def test_the_plan_in_the_terminal(folder: Path) -> None:
    result = planned("--settings")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "space      4 keys, no end of combinations"
    assert (
        "             train.optimizer.momentum  0.5 to 0.9 in steps of 0.1, where train.optimizer.kind is sgd" in lines
    )
    assert "first      train.peak_lr=0.003 model.hidden=[4] train.optimizer.kind=adamw" in lines
    assert "trials     12, judged by validation/accuracy" in lines
    said = {line[:11].strip(): line[11:] for line in lines if line[:1].strip()}
    assert said["scheduler"].startswith("asha: judged after 2 of 4 epochs; about ")
    assert said["slots"].endswith("of 1 CPU each, this machine")
    assert said["measured"].startswith("cheapest: an epoch ")
    assert " model.hidden=[64,64] " in result.stdout
    assert {"one trial", "time", "devices", "money"} <= set(said)
    assert not (folder / "runs").exists(), "a plan leaves nothing behind"


def test_the_plan_for_programs(folder: Path) -> None:
    told = json.loads(planned("--json", "--set", "search.sampler=random", "--set", "search.trials=30").stdout)
    assert (told["trials"], told["sampler"], told["rungs"]) == (30, "random", [2])
    # So small that either may be the quicker one.
    assert sorted(cost["params"]["model.hidden"] for cost in told["costs"]) == [[4], [64, 64]]
    wall = told["estimate"]["wall_s"]
    assert 0 < wall["low"] < wall["usual"] < wall["high"]
    assert told["estimate"]["usd"]["low"] == pytest.approx(told["estimate"]["device_hours"]["low"] * 0.5)
    assert set(told["share"]) == {"low", "usual", "high"}


def test_what_cannot_be_planned(folder: Path) -> None:
    with pytest.raises(CapacityError, match="one trial takes 1 x 999 CPU"):
        planned("--set", "train.cpus_per_worker=999")
    with pytest.raises(ConfigError, match="has no search section"):
        planned("--set", "search=null")


def test_a_cluster_is_asked_where_one_is_named(folder: Path, shared_ray: list[str]) -> None:
    told = json.loads(planned("--json", "--address", "127.0.0.1:1").stdout)
    assert shared_ray == ["session"]
    assert told["slots"]["count"] == 2
    assert told["slots"]["where"].startswith("the cluster at 127.0.0.1:1 (")
