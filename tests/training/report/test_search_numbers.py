"""The arithmetic behind the page of a search, on cases small enough to know the answer."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import create_trial

from tests.training.made_up_searches import (
    DISTRIBUTIONS,
    MadeUpSearch,
    drawn,
    folds_run,
    quality,
    search_run,
)
from training.journal import Event
from training.report.search.best import behind_of, is_clear, ties
from training.report.search.doubt import best_error, gap, over_searched, score_rows, share_error, share_interval
from training.report.search.importances import importances_of
from training.report.search.outcomes import groups_of
from training.report.search.pareto import non_dominated
from training.report.search.rungs import Rung, rungs_of
from training.report.search.section import STACKING, notes_of
from training.report.search.slices import log_ticks, ordered_texts
from training.report.search.study_file import read_study
from training.report.search.view import Search, units_of
from training.report.stages import seconds_by_stage
from training.report.text import milliseconds, money
from training.run_record import RunRecord
from training.search.study import SearchStudy, best_trial, name_of


def view_of(folder: Path) -> Search:
    return Search(RunRecord.read(folder))


def trial(name: str, **fields: Any) -> dict[str, Any]:
    return {"trial": name, "state": "complete", "params": {}, "score": 0.5, "epochs": 2, "seconds": 1.0} | fields


def stages_of(folder: Path) -> tuple[dict[str, float], str]:
    return seconds_by_stage(RunRecord.read(folder))


def plain_search(folder: Path, trials: list[dict[str, Any]], num_validation: int = 400) -> MadeUpSearch:
    run = MadeUpSearch(folder, len(trials))
    run.event("data", num_rows={"train": 1000, "validation": num_validation, "test": 900}, task="classification")
    run.search()
    for told in trials:
        run.event("trial", **told)
    return run


def test_rungs_count_who_came_and_who_went_on(tmp_path: Path) -> None:
    plain_search(tmp_path / "run", [
        trial("t0000", rungs=[[2, 0.5], [6, 0.6], [18, 0.7]]),
        trial("t0001", rungs=[[2, 0.4], [6, 0.55]], state="pruned"),
        trial("t0002", rungs=[[2, 0.3]], state="pruned"),
        trial("t0003", rungs=[[2, 0.45]], state="failed", score=None),
        trial("t0004", rungs=[[2, 0.6]]),  # stopped early by itself, and so finished
        trial("t0005", rungs=[[2, None]], state="failed", score=None),
    ])  # fmt: skip
    first, second, third = rungs_of(view_of(tmp_path / "run"))
    assert (first.num_reached, len(first.went_on), len(first.stopped), first.num_failed) == (5, 3, 1, 1)
    assert (second.num_reached, [name for name, _ in second.stopped]) == (2, ["t0001"])
    assert (third.level, third.num_reached) == (18, 1)
    assert first.share == pytest.approx(3 / 5)
    assert replace(first, num_open=3).share == pytest.approx(3 / 5)  # who still trains is neither
    assert Rung(2, (), (), 0, num_open=1).share is None


def test_the_clock_stops_between_executions_and_outside_of_the_search(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "run", 4)
    run.event("search", 10.0)
    run.event("trial", 5.0, **trial("t0000"))
    run.event("started", 1000.0)
    run.event("search", 20.0)
    run.event("trial", 7.0, **trial("t0001"))
    run.event("searched", 1.0, best_trial="t0001")
    run.event("fit", 300.0)
    run.event("started", 50.0)
    run.event("search", 20.0)
    run.event("trial", 2.0, **trial("t0002"))
    ended, again = view_of(run.folder).clock
    assert ended == pytest.approx({"t0000": 5.0, "t0001": 12.0, "t0002": 15.0})
    assert again == pytest.approx([5.0, 13.0])


def test_the_front_holds_who_is_beaten_by_nobody() -> None:
    pairs = {"a": (0.9, 5.0), "b": (0.8, 1.0), "c": (0.8, 2.0), "d": (0.9, 5.0), "e": (0.7, 0.5), "f": (0.6, 9.0)}
    trials: list[Event] = [trial(name, values={"score": s, "latency_ms": ms}) for name, (s, ms) in pairs.items()]
    front = non_dominated(trials, [("score", "max"), ("latency_ms", "min")])
    assert sorted(found["trial"] for found in front) == ["a", "b", "d", "e"]


def test_the_warning_of_over_searching_comes_with_little_gains_on_few_rows(tmp_path: Path) -> None:
    scores = [0.80, 0.90, 0.902, 0.903, 0.906, *[0.89] * 7]
    trials = [trial(f"t{i:04d}", score=score) for i, score in enumerate(scores)]
    plain_search(tmp_path / "few", trials, num_validation=400)
    few = view_of(tmp_path / "few")
    assert best_error(few) == pytest.approx(math.sqrt(0.906 * 0.094 / 400), rel=0.01)
    assert "After trial 2 of 12 the best score rose only by 0.0060 more" in over_searched(few)
    plain_search(tmp_path / "many", trials, num_validation=4_000_000)
    assert over_searched(view_of(tmp_path / "many")) == ""  # a gain of 0.003 is one, on so many rows
    plain_search(tmp_path / "short", trials[:6])
    assert over_searched(view_of(tmp_path / "short")) == ""  # nobody searched long
    assert share_error("rmse", 0.5, 400) is None
    assert share_error("accuracy", 0.5, None) is None


def test_a_share_of_all_rows_is_not_sure_either() -> None:
    """Wilson's interval of n hits of n reaches down to n / (n + 1.96 squared)."""
    assert share_interval("accuracy", 1.0, 27) == pytest.approx((27 / (27 + 1.959964**2), 1.0))
    assert share_interval("accuracy", 0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    error = share_error("accuracy", 1.0, 27)
    assert error is not None
    assert error > 0.03
    assert share_interval("rmse", 0.5, 400) is None


def test_of_equal_scores_the_lower_loss_is_first_and_then_the_lower_number(tmp_path: Path) -> None:
    losses = {"t0000": 0.3, "t0001": 0.1, "t0002": 0.2, "t0003": 0.1, "t0004": 0.0}
    scores = [1.0, 1.0, 1.0, 1.0, 0.9]
    run = plain_search(tmp_path / "run", [trial(name, score=s) for name, s in zip(losses, scores, strict=True)])
    assert [each["trial"] for each in view_of(run.folder).ranked] == list(losses)  # without a study
    assert ties(view_of(run.folder), 10) == "Of equal scores the lower number comes first."
    study = SearchStudy(run.folder / "trials" / "study.log", ["max"])
    study.study.add_trials(
        create_trial(value=score, user_attrs={"loss": loss})
        for score, loss in zip(scores, losses.values(), strict=True)
    )
    study.close()
    search = view_of(run.folder)
    assert [each["trial"] for each in search.ranked] == ["t0001", "t0003", "t0002", "t0000", "t0004"]
    found = best_trial(study.study, study.trials)
    assert found is not None
    assert search.best == name_of(found.number)
    assert ties(search, 10) == "Of equal scores the lower loss comes first, then the lower number."
    assert ties(view_of(search_run(tmp_path / "unequal", 30)), 10) == ""


def test_scores_that_are_all_equal_have_an_axis_around_them(tmp_path: Path) -> None:
    search = view_of(plain_search(tmp_path / "run", [trial("t0000")]).folder)
    assert search.flat_range([1.0, 1.0, None]) == pytest.approx([0.95, 1.0])  # an accuracy is never above 1
    assert search.flat_range([0.5, 0.5]) == pytest.approx([0.475, 0.525])
    assert search.flat_range([0.0]) == pytest.approx([0.0, 0.05])
    assert search.flat_range([0.5, 0.6]) is None
    assert search.flat_range([]) is None


def test_notes_of_a_later_execution_replace_those_of_an_earlier_one() -> None:
    events: list[Event] = [
        {"event": "search"},
        {"event": "search_note", "note": "3 trials train as one stacked model, 2.0 times as fast as measured"},
        {"event": "search_note", "note": "slot-0 was lost"},
        {"event": "search_note", "note": "slot-1 was lost"},
        {"event": "search_note", "note": "a sweep ended"},
        {"event": "search"},
        {"event": "search_note", "note": "trials train one at a time: 2 stacked trials train 0.92 times as fast"},
        {"event": "search_note", "note": "some trials train one at a time: their model is another"},
        {"event": "search_note", "note": "slot-4 was lost"},
    ]
    notes = notes_of(events)
    assert notes[STACKING] == [str(events[6]["note"]), str(events[7]["note"])]
    assert [note for kind, listed in notes.items() if kind != STACKING for note in listed] == [
        "a sweep ended", "slot-4 was lost",
    ]  # fmt: skip
    assert ["slot-0 was lost", "slot-1 was lost"] in notes_of(events[:5]).values()  # both, of one execution


def test_a_stage_that_goes_on_counts(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "run", 9)
    assert stages_of(run.folder) == ({"data": pytest.approx(2.4)}, "")
    run.event("search", 3.0)
    run.event("trial", 40.0, **trial("t0000"))
    run.event("started", 1000.0)
    run.event("search", 2.0)
    run.event("trial", 7.0, **trial("t0001"))
    assert stages_of(run.folder) == ({"data": pytest.approx(2.4), "search": pytest.approx(47.0)}, "search")
    run.live(time=run.now + 5.0)
    assert stages_of(run.folder)[0]["search"] == pytest.approx(52.0)
    run.event("searched", 1.0, best_trial="t0001", seconds=50.0)
    assert stages_of(run.folder) == ({"data": pytest.approx(2.4), "search": 50.0}, "")
    run.event("epoch", 6.0, epoch=1, metrics={}, seconds=6.0)
    assert stages_of(run.folder)[0]["train"] == pytest.approx(6.0)
    run.event("finished", 1.0, seconds=60.0)
    assert stages_of(run.folder)[1] == ""


@pytest.mark.parametrize("level", ["folds", "trainings"])  # older journals say folds where each has several seeds
def test_several_seeds_of_each_fold_are_called_trainings(tmp_path: Path, level: str) -> None:
    run = MadeUpSearch(tmp_path / "run", 2, folds=3, seeds=2)
    run.search(level=level, rungs=[4, 5], scheduler="racing")
    parts = [{"fold": fold, "seed": seed, "score": 0.8 + 0.01 * fold} for fold in range(3) for seed in (0, 1)]
    run.event("trial", **trial("t0000", score=0.81, replicates=parts, rungs=[[4, 0.8], [5, 0.81]]))
    search = view_of(run.folder)
    assert (search.unit, search.part, search.held_over_trained) == ("training", "fold", 0.5)
    assert score_rows(search)[0][0] == "best trial t0000, mean of 6 trainings on 3 folds"


@pytest.mark.parametrize(
    ("tested", "told"), [(0.8, "Trust the test score"), (0.9, "may be chance"), (0.95, "no worse than")]
)
def test_the_gap_to_the_test_part_is_weighed_by_its_standard_error(tmp_path: Path, tested: float, told: str) -> None:
    run = plain_search(tmp_path / "run", [trial("t0000", score=0.906)])
    assert gap(view_of(run.folder)) == ""
    run.event("packaged", path="p", score=tested, metric="test/accuracy")
    assert told in gap(view_of(run.folder))


def test_trials_on_the_same_folds_are_compared_fold_by_fold(tmp_path: Path) -> None:
    """Folds differ by far more than the trials do: only their differences tell them apart."""
    hard = [0.9, 0.8, 0.6, 0.85, 0.7]
    by = {"t0000": 0.0, "t0001": 0.02, "t0002": 0.001}
    noise = random.Random(0)
    trials = [
        trial(name, score=0.77 - less, replicates=[
            {"fold": fold, "seed": seed, "score": score - less + noise.gauss(0, 2e-3)}
            for fold, score in enumerate(hard) for seed in (0, 1)
        ])
        for name, less in by.items()
    ]  # fmt: skip
    run = MadeUpSearch(tmp_path / "run", 3, folds=5, seeds=2)
    run.search(level="folds")
    for told in trials:
        run.event("trial", **told)
    search = view_of(run.folder)
    best, worse, alike = search.trials
    assert len(units_of(best)) == 5  # seeds are averaged within a fold
    behind, near = behind_of(search, worse, best), behind_of(search, alike, best)
    assert behind is not None
    assert near is not None
    assert is_clear(behind)
    assert behind.mean == pytest.approx(0.02, abs=0.003)
    assert not is_clear(near)
    assert search.held_over_trained == 0.25


def test_importances_count_in_all_that_tie() -> None:
    rng = random.Random(1)
    trials = []
    for _ in range(44):
        params = drawn(rng) | {"model.hidden": "[128]"}
        trials.append(create_trial(params=params, distributions={k: DISTRIBUTIONS[k] for k in params}, value=0.0))
    found = importances_of(trials, [1.0] * 19 + [rng.random() for _ in range(25)], is_larger_better=True)
    assert (found.num_trials, found.num_top, found.num_tied) == (44, 19, 19)


def test_importances_find_what_decides_and_chance_bounds_the_rest() -> None:
    rng = random.Random(1)
    trials, values = [], []
    for _ in range(200):
        params = drawn(rng)
        params["model.hidden"] = "[128]"
        trials.append(create_trial(params=params, distributions={k: DISTRIBUTIONS[k] for k in params}, value=0.0))
        values.append(quality(params) + rng.gauss(0, 1e-3))
    found = importances_of(trials, values, is_larger_better=True)
    assert next(iter(found.shares)) == "train.peak_lr"
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.num_top == 20
    passed = {key for key, share in found.shares.items() if share > found.chance[key]}
    assert {"train.peak_lr", "model.dropout"} <= passed
    assert "train.optimizer.momentum" in found.shares  # only some trials have it
    assert len(passed) <= 3
    worst = importances_of(trials, values, is_larger_better=False)
    assert worst.shares != found.shares


def test_the_study_is_only_read(tmp_path: Path) -> None:
    folder = search_run(tmp_path / "run", 20)
    file = folder / "trials" / "study.log"
    before = file.read_bytes(), sorted(path.name for path in file.parent.iterdir())
    study = read_study(folder)
    assert study is not None
    assert len(study.get_trials()) == 20
    assert (file.read_bytes(), sorted(path.name for path in file.parent.iterdir())) == before
    file.write_bytes(before[0][:-20])  # a driver killed in mid-write, or one that writes at this moment
    read_study(folder)
    file.write_text("nonsense\nmore\n")
    assert read_study(folder) is None
    assert read_study(tmp_path) is None


def test_causes_are_one_whatever_their_numbers() -> None:
    trials: list[Event] = [trial("a", cause="not finite at step 12"), trial("b", cause="not finite at step 3.5e2"),
                           trial("c", cause="killed by signal 9"), trial("d", cause=None)]  # fmt: skip
    groups = groups_of(trials, "cause")
    assert [(words, len(group)) for words, group in groups] == [
        ("not finite at step 12", 2), ("killed by signal 9", 1), ("no cause recorded", 1),
    ]  # fmt: skip


def test_drawn_trials_of_many_hold_the_best_and_all_that_led(tmp_path: Path) -> None:
    rng = random.Random(0)
    plain_search(tmp_path / "run", [trial(f"t{i:04d}", score=i * 1e-6 + rng.random()) for i in range(3000)])
    search = view_of(tmp_path / "run")
    shown = {each["trial"] for _, each in search.drawn(500)}
    assert 450 <= len(shown) <= 500
    assert {each["trial"] for each in search.ranked[:200]} <= shown
    assert {search.trials[i - 1]["trial"] for i in search.leaders} <= shown
    assert search.drawn_note(500).startswith("; ")
    assert search.drawn_note(3000) == ""


def test_folds_of_a_search_give_its_error(tmp_path: Path) -> None:
    error = best_error(view_of(folds_run(tmp_path / "run")))
    assert error is not None
    assert 0.005 < error < 0.03


def test_ticks_and_money_are_short() -> None:
    assert log_ticks([1e-4, 5e-2]) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert log_ticks([64, 512]) == pytest.approx([10, 20, 50, 100, 200, 500, 1000, 2000, 5000])
    assert ordered_texts([512, 64, 128]) == ["64", "128", "512"]
    assert [milliseconds(value) for value in (0.00794, 0.1, 12.345)] == ["7.94 µs", "0.1 ms", "12.3 ms"]
    assert [money(value) for value in (None, 0.0, 0.00001, 0.0123, 12.3456)] == [
        "–", "$0.00", "under $0.0001", "$0.0123", "$12.35",
    ]  # fmt: skip
