"""Machines that are taken away, on a real cluster of several raylets in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
SCENARIOS = ("unbroken", "drained", "killed", "hung", "failing", "node_lost", "elastic")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each scenario says."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.hosts.cluster_scenarios", str(folder), *SCENARIOS],
        capture_output=True, text=True, timeout=1500, env=environment, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray says in between who died
    found = {told["scenario"]: told for told in map(json.loads, lines)}
    assert set(found) == set(SCENARIOS), done.stderr[-3000:]
    return found


def kinds(told: dict[str, Any]) -> list[str]:
    return [event["event"] for event in told["events"]]


def test_a_notice_costs_no_step(told: dict[str, dict[str, Any]]) -> None:
    drained = told["drained"]
    assert kinds(drained) == ["preempted", "resumed"]
    assert "is being drained" in drained["events"][0]["what"]
    assert drained["lost_steps"] == 0
    assert drained["equal"]
    assert drained["epochs"] == list(range(1, 11))


def test_a_killed_worker_costs_at_most_one_interval(told: dict[str, dict[str, Any]]) -> None:
    killed = told["killed"]
    assert kinds(killed) == ["worker_lost", "resumed"]
    assert f"(pid {killed['pid']})" in killed["events"][0]["what"]
    assert killed["lost_steps"] <= 15  # an interval of 1 s, and the step that is being made
    assert killed["equal"]


def test_a_lost_node_never_counts_and_waiting_for_another_is_told(told: dict[str, dict[str, Any]]) -> None:
    """With max_failures=0 a crash would have been the end."""
    lost = told["node_lost"]
    assert lost["events"][0]["kind"] == "machine"
    assert any("training waits for machines" in note and "1 fit now" in note for note in lost["notes"])
    assert lost["lost_steps"] <= 15
    assert lost["equal"]


def test_elastic_training_shrinks_and_grows_and_growing_costs_no_step(told: dict[str, dict[str, Any]]) -> None:
    elastic = told["elastic"]
    resumed = [event for event in elastic["events"] if event["event"] == "resumed"]
    assert [event["workers"] for event in resumed] == [1, 2]
    assert resumed[1]["steps_lost"] == 0
    assert elastic["epochs"] == list(range(1, 61))


def test_who_hangs_is_named(told: dict[str, dict[str, Any]]) -> None:
    hung = told["hung"]
    assert kinds(hung) == ["hang", "worker_lost", "resumed"]
    assert hung["events"][0]["what"].startswith("worker 1 on ")
    assert "nets.py" in hung["events"][0]["what"]
    assert "worker 0 waits in the gradient exchange" in hung["events"][0]["what"]
    assert hung["equal"]


def test_the_same_error_twice_is_final_and_named(told: dict[str, dict[str, Any]]) -> None:
    failing = told["failing"]
    assert "worker 1 on " in failing["error"]
    assert "ValueError: told to fail" in failing["error"]
    assert "the same at step" in failing["error"]
    assert kinds(failing).count("worker_failed") <= 3
    assert "Traceback (most recent call last)" in failing["log"]
