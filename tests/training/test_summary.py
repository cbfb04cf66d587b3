"""The summary of a run: right for finished, resumed, failed and empty ones."""

from pathlib import Path

import pytest

from tests.training.made_up_runs import EXPERIMENT, MadeUpRun, full_run
from training.errors import StorageError
from training.run_record import BY_HAND, RunRecord
from training.summary import summaries, summarise


def test_a_finished_run(tmp_path: Path) -> None:
    summary = summarise(full_run(tmp_path / "adult"))
    assert summary.state == "finished"
    assert (summary.metric, summary.best_score, summary.best_trial) == (
        "validation/accuracy",
        pytest.approx(0.8611, abs=1e-4),
        "t0003",
    )
    assert (summary.test_metric, summary.test_score, summary.chosen) == ("test/accuracy", 0.8559, "int8")
    assert summary.num_trials == {"complete": 21, "pruned": 16, "failed": 3}
    assert (summary.release, summary.url) == ("adult@3", "http://127.0.0.1:8000")
    assert summary.started_at == "2025-10-09T08:53:21+00:00"
    assert set(summary.seconds_by_stage) == {"data", "search", "train", "compress", "serve"}
    assert summary.error is None
    assert summary.report is None


def test_an_empty_run(tmp_path: Path) -> None:
    summary = summarise(MadeUpRun(tmp_path / "adult").folder)
    assert (summary.name, summary.state, summary.best_score, summary.seconds) == ("adult", "unfinished", None, 0.0)


def test_a_resumed_run_forgets_the_failure_and_leaves_out_the_pause(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.event("failed", 10.0, stage="run", message="the disk is full")
    assert (summarise(run.folder).state, summarise(run.folder).error) == ("failed", "the disk is full")
    run.now += 3600
    run.start()
    run.event("finished", 5.0, seconds=5.0)
    summary = summarise(run.folder)
    assert (summary.state, summary.error, summary.seconds) == ("finished", None, pytest.approx(15.0))


def test_forms_that_are_added_later_take_their_own_time_alone(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.event("finished", 5.0, seconds=5.0)
    run.event("compressed", 3600.0, seconds=20.0, variants=[], chosen="fp32", reason="", metric="test/accuracy")
    assert summarise(run.folder).seconds == pytest.approx(25.0)


def test_a_run_that_was_stopped_by_hand_was_interrupted_and_did_not_fail(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.event("failed", stage="run", message=BY_HAND)
    assert (summarise(run.folder).state, summarise(run.folder).error) == ("interrupted", None)
    run.start()
    assert summarise(run.folder).state == "unfinished"


def test_the_times_of_stages_hold_all_executions_and_no_pause(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.now += 3600  # killed before it had read the data
    run.start()
    run.data()
    run.event("search")
    run.event("ledger", 70.0, ledger={"wall_s": 70.0})
    run.now += 3600
    run.start()
    run.event("search")
    run.event("searched", 13.0, seconds=13.0, ledger={"wall_s": 83.0})
    run.epochs(5, training="t0003")  # a second each
    run.now += 3600
    run.start()
    run.epochs(7, first=6, training="t0003")
    run.fitted()  # 41 s, by itself
    run.event("registered", name="adult", version=1)
    run.now += 3600
    run.start()
    run.event("served", 20.0, seconds=9.0, url="http://127.0.0.1:8000")
    known = {"data": 2.4, "search": 83.0, "train": 41.0 + 5.0, "serve": 9.0}
    assert summarise(run.folder).seconds_by_stage == {stage: pytest.approx(s) for stage, s in known.items()}


def test_the_times_of_stages_of_an_old_journal_are_what_it_surely_knows(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.event("searched", seconds=20.0)
    run.event("searched", seconds=30.0)
    run.event("registered", name="adult", version=1)
    run.event("served", 8.0, url="http://127.0.0.1:8000")
    assert summarise(run.folder).seconds_by_stage == {"search": 50.0, "serve": pytest.approx(8.0)}
    run.start()
    run.event("served", 8.0, url="http://127.0.0.1:8000")
    assert "serve" not in summarise(run.folder).seconds_by_stage, "it began nobody knows when"


def test_a_search_in_progress_names_its_best_so_far(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.trials(6)
    assert summarise(run.folder).best_trial == "t0003"


def test_an_error_is_better_when_it_is_lower(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "rent", EXPERIMENT | {"name": "rent", "search": {"metric": "validation/rmse"}})
    run.start()
    for i, score in enumerate((3.0, None, 2.0, 4.0)):
        run.event(
            "trial",
            trial=f"t{i}",
            state="complete",
            params={},
            score=score,
            epochs=1,
            seconds=1.0,
            cause=None,
            curve=[],
        )
    assert summarise(run.folder).best_trial == "t2"


def test_epochs_recorded_twice_count_once_and_void_what_came_after(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.epochs(7)
    run.epochs(6, first=6)  # resumed from the checkpoint of epoch 5, and killed again
    assert [event["epoch"] for event in RunRecord.read(run.folder).epochs] == [1, 2, 3, 4, 5, 6]
    run.epochs(2)  # another trial was trained after all
    assert [event["epoch"] for event in RunRecord.read(run.folder).epochs] == [1, 2]


def test_a_trial_told_twice_counts_once(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.trials(4)
    run.trials(4)
    assert sum(summarise(run.folder).num_trials.values()) == 4


def test_runs_are_listed_newest_first_and_other_folders_left_out(tmp_path: Path) -> None:
    older, newer = MadeUpRun(tmp_path / "b-older"), MadeUpRun(tmp_path / "a-newer")
    older.start()
    newer.start()
    newer.now += 60
    (tmp_path / "registry").mkdir()
    assert {run.name for run in summaries(tmp_path)} == {"adult"}
    assert len(summaries(tmp_path)) == 2
    with pytest.raises(StorageError):
        summarise(tmp_path / "registry")


@pytest.mark.parametrize(
    ("file", "content"), [("data.json", ""), ("experiment.yaml", "a: [1, {"), ("experiment.yaml", "- 1")]
)
def test_a_damaged_run_is_named_and_hides_no_other(tmp_path: Path, file: str, content: str) -> None:
    full_run(tmp_path / "whole")
    full_run(tmp_path / "damaged")
    (tmp_path / "damaged" / file).write_text(content)
    with pytest.raises(StorageError, match=f"{file} is damaged"):
        RunRecord.read(tmp_path / "damaged")
    found = {Path(run.folder).name: run for run in summaries(tmp_path)}
    assert (found["damaged"].state, found["whole"].state) == ("failed", "finished")
    assert f"{file} is damaged" in (found["damaged"].error or "")
