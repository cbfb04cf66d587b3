"""A search under kills and drains ends as one that nobody touched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.commands import ROOT
from tests.journeys.search_storm import EVENTS, TRIALS, trials


@pytest.mark.slow
def test_a_search_under_kills_and_drains_loses_no_trial_and_runs_none_twice(tmp_path: Path) -> None:
    """The best scores need not be equal: with several slots, what a sampler proposes depends on which trials have ended
    when it is asked, and a drain or a kill changes that order."""
    command = [sys.executable, "-m", "tests.journeys.search_storm", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["told"]
    assert [what.split()[0] for what in told[: len(EVENTS)]] == ["driver" if e == "driver" else "node" for e in EVENTS]
    met = [int(what.rpartition("after ")[2].split()[0]) for what in told[: len(EVENTS)]]
    assert max(met) < TRIALS, "a driver that is killed after the last trial shows nothing"
    best = {}
    for name in ("calm", "storm"):
        events = trials(tmp_path, name)
        assert sorted(event["trial"] for event in events) == [f"t{i:04d}" for i in range(TRIALS)]
        assert {event["state"] for event in events} <= {"complete", "pruned"}
        assert all(len(event["curve"]) == event["epochs"] for event in events)
        best[name] = max(event["score"] for event in events if event["state"] == "complete")
    assert any(event["attempts"] > 1 for event in trials(tmp_path, "storm")), "a kill or drain must have met a trial"
    assert best["storm"] == pytest.approx(best["calm"], abs=0.02)
