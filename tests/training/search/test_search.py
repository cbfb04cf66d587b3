"""A search with real trials: truth in the study, failures kept, lost actors and drivers survived."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState

from training.config import Experiment
from training.data.prepare import prepare
from training.errors import TrainingFailed
from training.progress import Silent
from training.run_folder import RunFolder
from training.search.result import SearchResult
from training.search.sampling.proposals import Proposals
from training.search.search import search
from training.search.space.drawing import Space
from training.search.study import SearchStudy, best_trial, score_of


def experiment(storage: Path, name: str, trials: int = 6, space: dict | None = None, **more: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": name,
            "storage": str(storage),
            "data": {"source": "sklearn:iris", "target": "target"},
            "model": {"kind": "mlp", "hidden": [8]},
            "train": {"epochs": 9, "global_batch_size": 16, "early_stopping": None},
            "search": {
                "trials": trials,
                "startup_trials": 3,
                "scheduler": {"kind": "asha", "grace": 1},
                "fuse": False,
                "space": space or {"train.peak_lr": {"log": [1e-5, 0.1]}, "model.hidden": {"choice": [[4], [8, 8]]}},
            },
        }
        | more
    )


def run(wanted: Experiment) -> SearchResult:
    folder = RunFolder.of(wanted)
    folder.open(wanted)
    return search(wanted, prepare(wanted.data), folder, metric="accuracy", progress=Silent(), code_path="")


def test_study_and_journal_tell_what_happened(ray_2_cpus: None, tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "truth", trials=8)
    found = run(wanted)
    events = list(RunFolder.of(wanted).journal.events("trial"))
    study = SearchStudy(RunFolder.of(wanted).trials / "study.log", ["max"])
    assert [event["trial"] for event in sorted(events, key=lambda event: event["trial"])] == [
        f"t{i:04d}" for i in range(8)
    ]
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    for event in events:
        trial = study.trials[int(event["trial"][1:])]
        assert trial.state == states[event["state"]]
        assert len(event["curve"]) == event["epochs"] == trial.last_step
        assert (event["state"] == "complete") == (event["epochs"] == 9)
        assert [level for level, _ in event["rungs"]] == [level for level in (1, 3, 9) if level <= event["epochs"]]
        assert bool(event["stopped"]) == (event["state"] == "pruned")
    assert found.num_pruned > 0, "with a rate of 1e-5 some trial must fall behind"
    assert found.score == score_of(best_trial(study.study, study.trials))
    assert not (RunFolder.of(wanted).trials / "tune").exists()


@pytest.mark.slow  # the same through the command line is fast enough
def test_a_finished_search_does_nothing_and_a_larger_one_adds(ray_2_cpus: None, tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "more", trials=3)
    first = run(wanted)
    assert dataclasses.replace(run(wanted), ledger={}) == dataclasses.replace(first, ledger={})
    larger = wanted.model_copy(update={"search": wanted.search.model_copy(update={"trials": 5})})
    found = run(larger)
    assert found.num_complete + found.num_pruned == 5
    assert len(list(RunFolder.of(wanted).journal.events("trial"))) == 5


@pytest.mark.slow
def test_failed_trials_are_recorded_and_the_search_goes_on(ray_2_cpus: None, tmp_path: Path) -> None:
    failing = {"target": "tests.training.nets:Raises", "args": {"width": 20}}
    space = {"model.args.width": {"int": [1, 19]}}
    wanted = experiment(tmp_path, "failing", trials=8, space=space, model=failing)
    found = run(wanted)
    events = list(RunFolder.of(wanted).journal.events("trial"))
    failed = [event for event in events if event["state"] == "failed"]
    assert len(events) == 8
    assert found.num_failed == len(failed) > 0
    assert all("is below 10" in event["cause"] for event in failed)
    assert found.params["model.args.width"] >= 10


def test_all_trials_failed_names_the_causes(ray_2_cpus: None, tmp_path: Path) -> None:
    failing = {"target": "tests.training.nets:Raises", "args": {"limit": 100}}
    wanted = experiment(tmp_path, "hopeless", 3, {"model.args.width": {"int": [1, 9]}}, model=failing)
    with pytest.raises(TrainingFailed, match=r"all 3 trials failed\n  RuntimeError: width \d is below 100"):
        run(wanted)


def test_a_killed_actor_costs_no_trial(ray_2_cpus: None, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    dying = {"target": "tests.training.nets:DiesOnce", "args": {"marker": str(marker), "at_step": 10}}
    wanted = experiment(tmp_path, "killed", 3, {"train.peak_lr": {"log": [1e-3, 0.1]}}, model=dying)
    found = run(wanted)
    assert marker.exists()
    assert found.num_failed == 0
    assert found.num_complete + found.num_pruned == 3


@pytest.mark.slow
def test_data_settings_can_be_searched_from_a_relative_source(
    ray_2_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune moves a trial's process to another folder, where a relative path would lead nowhere."""
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    monkeypatch.chdir(tmp_path)
    data = {"source": "t.csv", "target": "y"}
    wanted = experiment(
        tmp_path, "relative", 2, {"data.features.numeric.scale": {"choice": ["standard", "robust"]}}, data=data
    )
    assert run(wanted).num_failed == 0


DRIVER = """
import sys, ray
from tests.training.search.test_search import experiment, run
from pathlib import Path
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
print(run(experiment(Path(sys.argv[1]), "driver", trials=int(sys.argv[2]))), flush=True)
"""


@pytest.mark.slow
def test_a_killed_driver_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    trials = 300
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(trials)]
    folder = RunFolder.of(experiment(tmp_path, "driver"))
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while sum(1 for _ in folder.journal.events("trial")) < 5:
        assert driver.poll() is None, "the driver ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    done_before = sum(1 for _ in folder.journal.events("trial"))
    assert 5 <= done_before < trials
    again = subprocess.run(
        [*command[:4], str(done_before + 20)], capture_output=True, text=True, timeout=180, check=False
    )
    assert again.returncode == 0, again.stderr
    names = [event["trial"] for event in folder.journal.events("trial")]
    assert len(names) == len(set(names)) == done_before + 20


def test_a_trial_that_was_opened_but_not_drawn_is_drawn_later(tmp_path: Path) -> None:
    """The driver can die between the two."""
    wanted = experiment(tmp_path, "opened")
    study = SearchStudy(tmp_path / "study.log", ["max"])
    Proposals(wanted.search, wanted, study, "accuracy", print)
    study.study.ask()
    half = study.study.ask()
    half.suggest_float("train.peak_lr", 1e-5, 0.1, log=True)
    study.close()
    again = SearchStudy(tmp_path / "study.log", ["max"])
    proposals = Proposals(wanted.search, wanted, again, "accuracy", print)
    first, second = (proposals.drawn(Trial(again.study, trial._trial_id)) for trial in again.trials)
    assert set(first) == set(second) == set(wanted.search.space)
    assert second["train.peak_lr"] == half.params["train.peak_lr"]


@pytest.mark.slow
def test_a_trial_that_only_the_study_knows_comes_into_the_journal(ray_2_cpus: None, tmp_path: Path) -> None:
    """The driver can die between telling the two."""
    wanted = experiment(tmp_path, "untold", trials=2)
    folder = RunFolder.of(wanted)
    folder.open(wanted)
    study = SearchStudy(folder.trials / "study.log", ["max"])
    Proposals(wanted.search, wanted, study, "accuracy", print)
    trial = study.study.ask()
    Space(wanted.search, wanted).draw(trial)
    study.study.tell(trial, 0.75)
    study.close()
    run(wanted)
    told = list(folder.journal.events("trial"))
    assert [(event["trial"], event["state"]) for event in told] == [("t0000", "complete"), ("t0001", told[1]["state"])]
    assert told[0]["score"] == 0.75
