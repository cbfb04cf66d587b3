"""The driver of a search, by what it tells the study, the journal and the slots. No Ray."""

import json
import math
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.training.search.playing import begun, driver, introduction, judged, played, told
from training.search.messages import Heard, Part
from training.search.study import best_trial, score_of


def test_every_level_is_an_intermediate_value_and_each_end_has_its_state(tmp_path: Path) -> None:
    with driver(played(tmp_path)) as one:
        first = begun(one).start[0]
        assert (first.trial, first.until, first.known, first.resumes) == ("t0000", 1, 0, False)
        orders = one.conductor.hear("a", told(judged("t0000", 1, 0.6)))
        assert orders.go_on == {"t0000": 3}
        orders = one.conductor.hear("a", told(judged("t0000", 3, 0.5, 0.7)))
        assert orders.go_on == {"t0000": 9}
        done = judged("t0000", 9, *[0.4] * 5, 0.8, state="finished", values=(0.8,))
        orders = one.conductor.hear("a", told(done, wants=1))
        assert orders.keep == ("t0000",)
        orders = one.conductor.hear("a", told(judged("t0001", 1, 0.1), wants=1))
        assert orders.stop == ("t0001",)
        one.conductor.hear("a", told(Heard("t0002", "failed", 0, cause="ValueError: no")))
        trials = one.study.trials
        assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
        assert trials[0].intermediate_values == {1: 0.6, 2: 0.6, 3: 0.7, 4: 0.7, 5: 0.7, 6: 0.7, 7: 0.7, 8: 0.7, 9: 0.8}
        events = one.events
        assert events["t0000"]["curve"] == [0.6, 0.5, 0.7, *[0.4] * 5, 0.8]
        assert events["t0000"]["rungs"] == [[1, 0.6], [3, 0.7], [9, 0.8]]
        assert events["t0001"]["stopped"] == "0.1 at epoch 1 is below 0.6, the cut-off of 1 trial"
        assert events["t0002"]["cause"] == trials[2].user_attrs["cause"] == "ValueError: no"


def test_a_process_that_repeats_levels_reports_them_once(tmp_path: Path) -> None:
    with driver(played(tmp_path, scheduler="none")) as one:
        begun(one)
        one.conductor.hear("a", told(judged("t0000", 4, 0.1, 0.2, 0.3, 0.4, state="running")))
        one.conductor.process_ended("a", "killed")
        orders = one.conductor.hear("a", introduction("p2"))
        again = orders.start[0]
        assert (again.trial, again.known, again.resumes, again.alone) == ("t0000", 4, True, True)
        one.conductor.hear("a", told(judged("t0000", 2, state="running", restored_s=0.0, values=(0.2,))))
        one.conductor.hear("a", told(judged("t0000", 5, 0.5, state="running")))
        assert one.study.trials[0].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5}
        one.conductor.hear("a", told(judged("t0000", 9, 0.6, 0.7, 0.8, 0.9, state="finished", values=(0.9,))))
        event = one.events["t0000"]
        assert event["curve"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        assert event["attempts"] == 2
        assert event["state"] == "complete"


def test_a_trial_that_left_is_the_same_trial_and_is_judged_where_it_stood(tmp_path: Path) -> None:
    """It left while it waited for its verdict: another slot must not train it past the rung."""
    with driver(played(tmp_path)) as one:
        begun(one)
        one.conductor.hear("a", told(judged("t0000", 1, 0.6)))
        begun(one, "b")
        leaving = told(judged("t0000", 3, 0.6, 0.7, state="left"), left="its node is to go")
        one.conductor.hear("a", leaving)
        one.conductor.slot_ended("a", leaving)  # Tune says it twice
        orders = one.conductor.hear("b", told(judged("t0001", 1, 0.7), wants=2))
        again = next(each for each in orders.start if each.trial == "t0000")
        assert (again.until, again.known, again.resumes, again.alone) == (3, 3, True, False)
        assert one.conductor.hear("b", told(judged("t0000", 3, values=(0.7,)))).go_on == {"t0000": 9}
        assert one.study.trials[0].state == TrialState.RUNNING
        assert one.events == {}


def test_who_ended_its_process_fails_at_once_and_its_neighbours_go_on(tmp_path: Path) -> None:
    with driver(played(tmp_path)) as one:
        begun(one)
        one.conductor.hear("a", told(wants=2))
        one.last_words["slot-0"] = (("t0001",), "made no step for 5 s, in nets.py:7 in forward")
        one.conductor.process_ended("a", "SYSTEM_ERROR")
        assert one.events["t0001"]["cause"] == "made no step for 5 s, in nets.py:7 in forward"
        orders = one.conductor.hear("a", introduction("p2"))
        assert [each.trial for each in orders.start] == ["t0000"]


def test_suspects_train_one_at_a_time_until_the_culprit_is_found(tmp_path: Path) -> None:
    """A stack of four died with its process: one of them ends it each time."""
    with driver(played(tmp_path, trials=4, scheduler="none", max_failures_per_trial=1)) as one:
        begun(one)
        one.conductor.hear("a", told(wants=3))
        one.conductor.process_ended("a", "killed")
        start = one.conductor.hear("a", introduction("p2")).start
        assert [(each.trial, each.alone) for each in start] == [("t0000", True)]
        orders = one.conductor.hear("a", told(judged("t0000", 1, 0.5, state="running"), wants=5))
        assert orders.start == (), "nobody joins a suspect"
        done = judged("t0000", 9, *[0.5] * 8, state="finished", values=(0.5,))
        start = one.conductor.hear("a", told(done, wants=5)).start
        assert [(each.trial, each.alone) for each in start] == [("t0001", True)]
        one.conductor.process_ended("a", "killed")  # alone in its process: here is the culprit
        start = one.conductor.hear("a", told(wants=5, handle="a", incarnation="p3")).start
        assert [(each.trial, each.alone) for each in start] == [("t0002", False), ("t0003", False)]
        ends = [judged(each.trial, 9, *[0.5] * 9, state="finished", values=(0.5,)) for each in start]
        start = one.conductor.hear("a", told(*ends, wants=5)).start
        assert [(each.trial, each.alone) for each in start] == [("t0001", True)]
        one.conductor.process_ended("a", "killed")
        assert one.events["t0001"]["cause"] == "its process died, 2 times"
        assert [event["state"] for event in one.events.values()].count("complete") == 3


def test_a_lost_node_is_no_fault_of_its_trials(tmp_path: Path) -> None:
    with driver(played(tmp_path, max_failures_per_trial=0)) as one:
        begun(one, node="gone")
        one.lost_nodes.add("gone")
        one.conductor.process_ended("a", "node died")
        orders = one.conductor.hear("a", introduction("p2"))
        assert (orders.start[0].trial, orders.start[0].alone) == ("t0000", False)
        one.conductor.process_ended("a", "killed")  # on a living node: with 0 allowed it is the end
        assert one.events["t0000"]["cause"] == "its process died, 1 times"


def test_slots_that_cannot_begin_end_the_search_with_the_reason(tmp_path: Path) -> None:
    with driver(played(tmp_path, max_failures_per_trial=1)) as one:
        one.conductor.new_slot("a")
        one.conductor.process_ended("a", "ImportError: no module named mine")
        assert one.conductor.failure is None
        one.conductor.slot_ended("a", told(broken="ImportError: no module named mine"))
        assert "no slot of the search can begin, 2 times in a row: ImportError" in str(one.conductor.failure)
        assert one.conductor.is_over


def test_folds_count_as_one_trial_with_its_mean_and_its_parts(tmp_path: Path) -> None:
    with driver(played(tmp_path, folds=3, scheduler={"kind": "asha", "grace": 2})) as one:
        assert begun(one).start[0].until == 2
        parts = [Part(fold, 0, score) for fold, score in enumerate((0.5, 0.9, 0.7))]
        assert one.conductor.hear("a", told(judged("t0000", 2, 0.5, 0.9, values=(0.7,), parts=tuple(parts[:2])))).go_on
        done = judged("t0000", 3, 0.7, values=(0.7,), parts=tuple(parts), state="finished")
        assert one.conductor.hear("a", told(done)).stop == ("t0000",), "no fold's model is the one that is wanted"
        trial = one.study.trials[0]
        assert trial.intermediate_values == pytest.approx({1: 0.5, 2: 0.7, 3: 0.7})
        assert trial.value == 0.7
        assert [part["score"] for part in one.events["t0000"]["replicates"]] == [0.5, 0.9, 0.7]


def test_several_objectives_are_judged_by_rank_and_told_as_they_are(tmp_path: Path) -> None:
    wanted = played(tmp_path, objectives=["score", "size_mb"], scheduler={"kind": "asha", "grace": 1})
    with driver(wanted) as one:
        begun(one)
        one.conductor.hear("a", told(wants=3))
        orders = one.conductor.hear("a", told(judged("t0000", 1, 0.6, values=(0.6, 1.0))))
        assert orders.go_on
        orders = one.conductor.hear("a", told(judged("t0001", 1, 0.6, values=(0.9, 9.0))))
        assert orders.go_on, "large and good: nobody is better in both"
        orders = one.conductor.hear("a", told(judged("t0002", 1, 0.5, values=(0.5, 9.5))))
        assert orders.stop == ("t0002",)
        done = judged("t0000", 9, *[0.7] * 8, values=(0.7, 1.0), state="finished")
        assert one.conductor.hear("a", told(done)).keep == ("t0000",)
        done = judged("t0001", 9, *[0.9] * 8, values=(0.9, math.nan), state="finished")
        assert one.conductor.hear("a", told(done)).stop == ("t0001",)
        trials = one.study.trials
        assert [trial.state for trial in trials[:3]] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
        assert trials[0].values == [0.7, 1.0]
        assert one.events["t0001"]["cause"] == "the objective size_mb was NaN"
        assert one.events["t0002"]["values"] == {"score": 0.5, "size_mb": 9.5}


def test_a_score_that_is_nan_fails_its_trial_and_says_which(tmp_path: Path) -> None:
    with driver(played(tmp_path, metric="validation/accuracy", scheduler="none")) as one:
        begun(one)
        done = judged("t0000", 9, *[math.nan] * 9, values=(math.nan,), state="finished")
        assert one.conductor.hear("a", told(done, wants=1)).stop == ("t0000",)
        assert one.events["t0000"]["cause"] == "validation/accuracy was NaN in every epoch"
        once = judged("t0001", 9, math.nan, *[0.5] * 8, values=(0.5,), state="finished")
        one.conductor.hear("a", told(once))
        assert one.events["t0001"]["state"] == "complete"
        assert one.study.trials[1].intermediate_values == dict.fromkeys(range(2, 10), 0.5)


def test_of_two_that_end_in_the_same_words_only_the_better_is_kept(tmp_path: Path) -> None:
    with driver(played(tmp_path, scheduler="none")) as one:
        begun(one)
        one.conductor.hear("a", told(wants=1))
        ended = [
            judged(f"t000{i}", 9, *[score] * 9, values=(score,), state="finished") for i, score in ((0, 0.5), (1, 0.6))
        ]
        orders = one.conductor.hear("a", told(*ended))
        assert (orders.keep, orders.stop) == (("t0001",), ("t0000",))


def test_a_killed_driver_is_followed_by_one_that_knows_all(tmp_path: Path) -> None:
    wanted = played(tmp_path)
    with driver(wanted) as one:
        begun(one)
        one.conductor.hear("a", told(judged("t0000", 1, 0.9), wants=1))
        one.conductor.hear("a", told(judged("t0000", 3, 0.9, 0.9), wants=0))
        one.conductor.hear("a", told(judged("t0000", 5, 0.1, 0.95, state="running")))
    with driver(wanted) as two:
        orders = begun(two)
        again = orders.start[0]
        assert (again.trial, again.until, again.known, again.resumes) == ("t0000", 9, 0, True)
        orders = two.conductor.hear("a", told(wants=1))
        again = orders.start[0]
        assert (again.trial, again.until, again.resumes) == ("t0001", 1, True)
        # Its slot goes on from a checkpoint at 4, and tells the scores of all epochs, as they were.
        two.conductor.hear("a", told(judged("t0000", 4, 0.9, 0.9, 0.9, 0.1, state="running", restored_s=0.0)))
        orders = two.conductor.hear("a", told(judged("t0001", 1, 0.2)))
        assert orders.stop == ("t0001",), "the rung knows what the first driver heard"
        two.conductor.hear("a", told(judged("t0000", 9, 0.95, *[0.5] * 4, state="finished", values=(0.95,))))
        assert two.events["t0000"]["curve"] == [0.9, 0.9, 0.9, 0.1, 0.95, *[0.5] * 4]
        assert two.study.trials[0].intermediate_values[5] == 0.95
    with driver(wanted) as three:
        assert [trial.number for trial in three.study.trials] == [0, 1]
        assert begun(three).start[0].trial == "t0002"


def test_a_search_that_is_to_have_fewer_trials_leaves_the_rest_open(tmp_path: Path) -> None:
    with driver(played(tmp_path, 6, scheduler="none")) as one:
        begun(one)
        one.conductor.hear("a", told(wants=4))
        one.conductor.hear("a", told(judged("t0000", 9, *[0.5] * 9, values=(0.5,), state="finished")))
    with driver(played(tmp_path, 2, scheduler="none")) as two:
        assert [each.trial for each in begun(two).start] == ["t0001"]
        orders = two.conductor.hear("a", told(judged("t0001", 9, *[0.5] * 9, values=(0.5,), state="finished"), wants=9))
        assert orders.start == ()
        assert two.conductor.is_over
    with driver(played(tmp_path, 6, scheduler="none")) as three:
        assert [each.trial for each in begun(three).start] == ["t0002"]


def test_what_the_journal_was_not_told_comes_into_it_and_counts(tmp_path: Path) -> None:
    wanted = played(tmp_path, budget={"target": 0.9})
    with driver(wanted) as one:
        begun(one)
        one.conductor.hear("a", told(judged("t0000", 9, *[0.95] * 9, values=(0.95,), state="finished")))
        journal = one.run.journal.path
        journal.write_text("".join(line + "\n" for line in journal.read_text().splitlines() if '"trial"' not in line))
    with driver(wanted) as two:
        event = two.events["t0000"]
        assert (event["state"], event["score"], event["values"], event["epochs"]) == (
            "complete",
            0.95,
            {"score": 0.95},
            9,
        )
        two.conductor.look_at_budget()
        assert two.conductor.ended == "a score of 0.9500 has reached the target of 0.9000"
        assert two.conductor.is_over


def test_half_written_last_lines_cost_only_themselves(tmp_path: Path) -> None:
    wanted = played(tmp_path)
    with driver(wanted) as one:
        begun(one)
        one.conductor.hear("a", told(judged("t0000", 1, 0.9), wants=1))
        for path in (one.run.trials / "study.log", one.run.journal.path):
            with path.open("ab") as file:
                file.write(b'{"op_code": 6, "trial_')
        (one.run.trials / "live.json").write_text('{"time": 17')
    with driver(wanted) as two:
        assert [each.trial for each in begun(two).start] == ["t0000"]
        two.conductor.hear("a", told(judged("t0000", 9, *[0.9] * 9, values=(0.9,), state="finished")))
        assert list(two.events) == ["t0000"]
    with driver(wanted) as three:
        assert three.study.trials[0].state == TrialState.COMPLETE
        lines = (three.run.trials / "study.log").read_text().splitlines()
        assert all(json.loads(line) for line in lines)


def test_the_budget_ends_a_search_that_no_slot_speaks_in(tmp_path: Path) -> None:
    now = [1000.0]
    wanted = played(tmp_path, budget={"wall_s": 100, "reserve_fraction": 0.2})
    with driver(wanted, clock=lambda: now[0]) as one:
        one.conductor.new_slot("a")
        now[0] += 81
        one.conductor.look_at_budget()
        assert "the budget of 100 s is spent" in one.conductor.ended
        assert one.conductor.is_over
        assert one.conductor.new_slot("b") is None


def test_a_process_that_ray_kept_idle_for_hours_has_not_held_its_devices_for_hours(tmp_path: Path) -> None:
    with driver(played(tmp_path, budget={"device_hours": 1})) as one:
        one.conductor.new_slot("a")
        old = introduction("p1")
        orders = one.conductor.hear("a", type(old)(**{**vars(old), "startup_s": 7200.0}))
        assert orders.start
        assert one.conductor.ended == ""


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_a_failed_trial_raises_no_bar_after_a_resume(scheduler: str, tmp_path: Path) -> None:
    kind = {"kind": scheduler, "grace": 1} | ({"min_trials": 1} if scheduler == "median" else {"brackets": 1})
    wanted = played(tmp_path, scheduler=kind if scheduler != "asha" else {"kind": "asha", "grace": 1})
    with driver(wanted) as one:
        begun(one)
        one.conductor.hear("a", told(judged("t0000", 1, 0.9)))
        one.conductor.hear("a", told(Heard("t0000", "failed", 1, cause="ValueError: no"), wants=1))
    with driver(wanted) as one:
        assert begun(one).start[0].trial == "t0001"
        assert one.conductor.hear("a", told(judged("t0001", 1, 0.5))).stop == ()


def test_the_end_of_the_budget_gives_the_best_of_those_that_are_open(tmp_path: Path) -> None:
    """Nothing has ended, and yet much is known."""
    with driver(played(tmp_path, scheduler="none")) as one:
        begun(one)
        begun(one, "b", "p2")
        one.conductor.hear("a", told(judged("t0000", 2, 0.7, 0.6, state="running")))
        one.conductor.hear("b", told(judged("t0001", 1, 0.65, state="running"), incarnation="p2"))
        best = best_trial(one.study.study, one.study.trials)
        assert best is not None
        assert (best.number, score_of(best)) == (0, 0.7)
        one.conductor.hear("b", told(judged("t0001", 9, *[0.1] * 8, state="finished", values=(0.65,))))
        best = best_trial(one.study.study, one.study.trials)
        assert best is not None
        assert best.number == 1, "one that was trained to its end is known better"


def test_an_event_that_comes_late_has_the_scores_themselves(tmp_path: Path) -> None:
    """Intermediate values are the best so far, and with two objectives there are none."""
    for name, more in (("one", {}), ("two", {"objectives": ["score", "size_mb"]})):
        wanted = played(tmp_path / name, scheduler="none", **more)
        values = (0.8, 1.0)[: 1 + bool(more)]
        with driver(wanted) as one:
            begun(one)
            done = judged("t0000", 9, 0.8, 0.7, *[0.6] * 7, state="finished", values=values)
            one.conductor.hear("a", told(done))
            journal = one.run.journal.path
            told_of = one.events["t0000"]
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(line for line in lines if json.loads(line)["event"] != "trial"))
        with driver(wanted) as one:
            event = one.events["t0000"]
        assert event["curve"] == told_of["curve"] == [0.8, 0.7, *[0.6] * 7]
        assert event["epochs"] == told_of["epochs"] == 9


def test_a_clone_that_a_process_had_no_time_for_is_made_by_the_next_one(tmp_path: Path) -> None:
    pbt = {"kind": "pbt", "interval": 2, "quantile_fraction": 0.5}
    wanted = played(tmp_path, scheduler=pbt)
    with driver(wanted) as one:
        begun(one)
        begun(one, "b", "p2")
        one.conductor.hear("a", told(judged("t0000", 2, 0.8, 0.9)))
        orders = one.conductor.hear("b", told(judged("t0001", 2, 0.1, 0.1), incarnation="p2"))
        ordered = orders.clone["t0001"]
        one.conductor.process_ended("b", "killed")
        (again,) = one.conductor.hear("b", introduction("p3")).start
        assert (again.trial, again.clone) == ("t0001", ordered)
    with driver(wanted) as one:  # nor had the driver
        found = {each.trial: each for key in ("a", "b") for each in begun(one, key, key).start}
        clone = found["t0001"].clone
        assert clone is not None
        assert (clone.source, clone.params) == ("t0000", ordered.params)
        assert found["t0000"].clone is None
        key = next(key for key in ("a", "b") if "t0001" in one.conductor._slots[key].trials)
        one.conductor.hear(key, told(judged("t0001", 3, 0.5, state="running")))
        assert not one.conductor._open["t0001"].is_cloning
