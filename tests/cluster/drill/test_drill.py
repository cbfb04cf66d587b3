"""The command: what it refuses at once, and a real drill on a cluster of raylets, in processes of its own."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.drill.surroundings import surroundings
from cluster.errors import ClusterError
from training.journal import Journal
from training.package.errors import UserError

TINY = """
name: tiny
data: {source: "sklearn:digits", target: target}
model: {kind: mlp, hidden: [32]}
train: {epochs: 20, global_batch_size: 64}
"""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--kinds", "notice,flood"], "flood is no kind of event"),
        (["--trace", "none.json"], "the trace none.json cannot be read"),
        (["--trace", "tiny.yaml"], "tiny.yaml is not JSON"),
        (["--acceleration", "10"], "are of a trace"),
        (["--svg", "nowhere/picture.svg"], "there is no folder nowhere"),
        (["--keep", "."], "--keep . is not empty"),
        (["--workers", "3", "--nodes", "2"], "needs 3 workers, and there would be 2 nodes"),
        (["--set", "train.epoch=3"], "train.epoch"),
    ],
)
def test_what_cannot_be_drilled_is_said_before_anything_starts(
    tmp_path: Path, arguments: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    ended = CliRunner().invoke(app, ["drill", "tiny.yaml", *arguments])
    assert isinstance(ended.exception, UserError)
    assert problem in ended.exception.message
    assert ended.exception.exit_code == 2
    assert not ended.stdout


def test_a_process_that_has_ray_cannot_hold_a_drill_s_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", sys)
    before = dict(os.environ)
    with pytest.raises(ClusterError, match="needs a process of its own"), surroundings(verbose=False):
        pytest.fail("a cluster would be started")
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.own_cluster
def test_a_run_under_blows_ends_with_the_weights_of_one_to_which_nothing_happened(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    long_enough = ["--set", "train.epochs=1500", "--set", "train.early_stopping=null", "--spacing-s", "0"]
    kept = ["--keep", "kept", "--svg", "picture.svg"]
    ended = _drill(tmp_path, "--events", "4", "--seed", "2", "--json", *kept, *long_enough, mark=mark)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    result = json.loads(ended.stdout)
    events: dict[str, Any] = {event["kind"]: event for event in result["events"]}
    assert set(events) == {"notice", "kill_worker", "kill_node", "kill_driver"}
    assert events["notice"]["steps_lost"] == 0
    assert sum(event["steps_lost"] for event in result["events"]) > 0  # kills cost something
    assert result["weights"]["equal"]
    assert result["weights"]["num_compared"] > 0
    assert result["history"]["equal"]
    # They really fell: the run's own record tells of them.
    told = Counter(event["event"] for event in Journal(tmp_path / "kept" / "broken" / "journal.jsonl").events())
    assert told["preempted"] == 1
    assert told["worker_lost"] == 2
    assert told["started"] == 2
    unbroken = Counter(event["event"] for event in Journal(tmp_path / "kept" / "unbroken" / "journal.jsonl").events())
    assert unbroken["started"] == 1
    assert not {"preempted", "worker_lost", "resumed"} & set(unbroken)
    assert ElementTree.parse(tmp_path / "picture.svg").getroot().tag.endswith("svg")
    assert _left_behind(mark) == []


def _drill(folder: Path, *arguments: str, mark: str = "none") -> subprocess.CompletedProcess[str]:
    (folder / "tiny.yaml").write_text(TINY)
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, "-m", "cluster", "drill", "tiny.yaml", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=900, check=False,
        env=os.environ | {"PYTHONPATH": root, "DRILL_TEST_MARK": mark},
    )  # fmt: skip


def _left_behind(mark: str) -> list[str]:
    wanted, found = f"DRILL_TEST_MARK={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue  # it ended while we looked
    return found
