"""Searches whose machines are taken away, on a real cluster of several raylets in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.search.cluster_scenarios import EPOCHS, SCENARIOS, TRIALS

pytestmark = pytest.mark.slow
NAMES = [scenario.__name__ for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each scenario says."""
    command = [sys.executable, "-m", "tests.training.search.cluster_scenarios", str(tmp_path_factory.mktemp("cluster"))]
    done = subprocess.run(
        [*command, *NAMES], capture_output=True, text=True, timeout=1500, check=False,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray says in between who died
    found = {told["scenario"]: told for told in map(json.loads, lines)}
    assert set(found) == set(NAMES), done.stderr[-3000:]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_trial_is_trained_to_its_end_once(told: dict[str, dict[str, Any]], name: str) -> None:
    one = told[name]
    assert (one["error"], one["alive"]) == ("", False)
    names = [trial["trial"] for trial in one["trials"]]
    assert len(names) == len(set(names)) == (2 if name == "workers" else TRIALS)
    assert {trial["state"] for trial in one["trials"]} == {"complete"}
    epochs = {"workers": 8, "stack_drained": 40}.get(name, EPOCHS)
    assert all(len(trial["curve"]) == trial["epochs"] == epochs for trial in one["trials"])


@pytest.mark.parametrize("name", ["drained", "stack_drained"])
def test_a_notice_costs_no_work_and_the_trial_goes_on_elsewhere(told: dict[str, dict[str, Any]], name: str) -> None:
    one = told[name]
    struck = [trial for trial in one["trials"] if trial["attempts"] > 1]
    assert struck
    assert one["left_s"] < 15, "half a second to hear of it, a step, and a save"
    assert all(trial["recomputed_s"] < 0.5 for trial in struck), "a step takes 0.05 s, an epoch 0.4 s"


def test_a_node_that_is_killed_is_no_failure_of_its_trials(told: dict[str, dict[str, Any]]) -> None:
    """With max_failures_per_trial=0 a failure would have been the end of them."""
    one = told["node_lost"]
    assert any("its node is gone" in note for note in one["notes"])
    struck = [trial for trial in one["trials"] if trial["attempts"] > 1]
    assert struck
    assert all(trial["recomputed_s"] < 5 for trial in struck), "an interval is 2 s"
