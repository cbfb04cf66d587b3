"""The page of a search: what a person reads on it, for searches of every kind and size."""

import json
import time
from pathlib import Path

import pytest

from tests.training.made_up_runs import NASTY, MadeUpRun, full_run
from tests.training.made_up_searches import MadeUpSearch, by_folds, folds_run, objectives_run, search_run
from tests.training.report.pages import figures_of, page_of, section_of, text_of
from training.event_text import duration

SECTIONS = ("search", "doubt", "course", "settings", "outcomes", "ledger", "trials")


def test_a_search_that_ended_answers_every_question(tmp_path: Path) -> None:
    page = page_of(search_run(tmp_path / "adult"))
    assert all(section_of(page, name) for name in SECTIONS)
    assert not section_of(page, "pareto")
    search = text_of(section_of(page, "search"))
    for told in (
        "60 trials: 21 complete, 35 pruned, 4 failed",
        "proposed by tpe, stopped by asha, judged after 2, 6 and 18 epochs",
        "off: it was measured to be slower here", "all 60 trials have ended", "t0028 ★ has validation/accuracy 0.8611",
        "train.peak_lr 0.00251 the experiment says 0.003", "model.hidden [256, 256] as in the experiment",
        "the experiment 0.003 [256, 256] 0.1 adamw – 256", "The best 10",
    ):  # fmt: skip
        assert told in search, told
    best = section_of(page, "search")
    assert "--set train.optimizer.kind" not in best
    assert "--set &#x27;train.optimizer.kind=&quot;sgd&quot;&#x27;" in best  # quoted for a shell, then for HTML
    assert "<b>0.00251</b>" in best
    assert "<span class='muted'>[256, 256]</span>" in best  # as in the experiment: not what made it good


def test_charts_of_a_search_hold_its_numbers(tmp_path: Path) -> None:
    folder = search_run(tmp_path / "adult")
    told = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    trials = [event for event in told if event["event"] == "trial"]
    figures = figures_of(page_of(folder))
    by_name = {trace["name"]: trace for trace in figures["objective"]["data"]}
    assert list(by_name) == ["stopped after 2 epochs", "stopped after 6 epochs", "complete", "best so far", "failed"]
    assert by_name["complete"]["y"] == [trial["score"] for trial in trials if trial["state"] == "complete"]
    assert by_name["best so far"]["y"][-1] == max(by_name["complete"]["y"])
    clock = {trace["name"]: trace for trace in figures["clock"]["data"]}
    assert figures["clock"]["layout"]["xaxis"]["title"]["text"] == "seconds since the search began"
    assert clock["complete"]["x"][0] == pytest.approx(1.7)
    assert clock["best so far"]["x"][-1] == pytest.approx(60 * 1.7)
    survivors = {trace["name"]: trace["y"] for trace in figures["survivors"]["data"]}
    assert survivors == {"went on": [28, 21, 21], "stopped here": [28, 7, 0]}
    assert figures["slice0"]["layout"]["xaxis"]["type"] == "log"  # the most important one, the learning rate
    assert len(figures["curves"]["data"]) == 56


def test_slices_follow_the_kind_of_each_setting(tmp_path: Path) -> None:
    page = page_of(search_run(tmp_path / "adult"))
    figures, places = figures_of(page), {}
    for part in section_of(page, "settings").split('<figure id="chart-')[1:]:
        places[part.partition("<figcaption>")[2].partition("<")[0].partition(";")[0]] = part.partition('"')[0]
    axes = {key: figures[name]["layout"]["xaxis"] for key, name in places.items() if name.startswith("slice")}
    assert axes["train.global_batch_size"]["type"] == "log"  # {int: ..., log: true}
    assert "type" not in axes["model.dropout"]
    assert axes["model.hidden"]["ticktext"] == ["[128]", "[256, 256]", "[512, 256, 128]"]
    assert "train.optimizer.momentum; 26 trials do not have it" in page
    momentum = figures[places["train.optimizer.momentum"]]["data"]
    assert sum(len(trace["x"]) for trace in momentum) == 56 - 26
    lines = {axis["label"]: axis for axis in figures["parallel"]["data"][0]["dimensions"]}
    assert lines["optimizer.momentum"]["ticktext"][0] == "–"


def test_time_and_money_add_up_and_failures_say_what_they_share(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 80)
    run.search()
    run.make(80)
    run.study()
    run.searched()
    page = page_of(run.folder)
    ledger, outcomes = text_of(section_of(page, "ledger")), text_of(section_of(page, "outcomes"))
    useful = sum(told["seconds"] for told in run.told)
    assert f"{useful / run.ledger()['device_s']:.0%} of that was useful" in ledger
    assert f"In all ${run.ledger()['usd']:.4f}" in ledger
    assert "all trials 80" in ledger
    assert f"slots in all {duration(useful)}" in ledger
    assert "the loss is not finite at step" in outcomes
    assert "train.peak_lr 0.06 or more" in outcomes  # what the diverged ones share
    assert outcomes.count("the loss is not finite") == 1  # one cause, whatever the step
    assert "Stopped early, by reason" in outcomes


def test_folds_show_means_with_intervals_and_who_cannot_be_told_apart(tmp_path: Path) -> None:
    page = page_of(folds_run(tmp_path / "adult"))
    search = text_of(section_of(page, "search"))
    assert "not told apart" in search
    assert "Two tests" not in search  # racing stopped none of the best
    assert "corrected resampled t interval over the folds" in search
    assert "the budget of 40 s was spent" in search
    assert "mean of 5 folds" in text_of(section_of(page, "doubt"))
    figures = figures_of(page)
    assert figures["curves"]["layout"]["xaxis"]["title"]["text"] == "fold"
    assert {len(trace["x"]) for trace in figures["curves"]["data"]} == {2, 5}
    means = figures["intervals"]["data"][1]
    assert len(means["x"]) == 10
    assert all(low > 0 for low in means["error_x"]["arrayminus"])
    # A hard fold makes each interval wide, and says nothing of which trial is better.
    assert means["error_x"]["array"][0] > 0.01


def test_several_seeds_of_each_fold_are_trainings_on_the_whole_page(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 6, folds=5, seeds=2, scheduler={"kind": "racing", "p_value": 0.1})
    run.search(level="trainings", rungs=[4, 5], scheduler="racing")
    run.make(6, by_folds)
    page = page_of(run.folder)
    search = text_of(section_of(page, "search"))
    assert "stopped by racing, judged after 4 and 5 trainings" in search
    assert "Two tests, which need not agree" in search
    assert "Wilcoxon's signed-rank test (one-sided, p below 0.1)" in search.replace("&#x27;", "'")
    assert "behind ★, same folds" in search
    assert "stopped after 2 trainings" in [trace["name"] for trace in figures_of(page)["objective"]["data"]]
    assert figures_of(page)["curves"]["layout"]["xaxis"]["title"]["text"] == "fold"


def test_what_decides_on_stacking_is_said_and_auto_is_not(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 3)
    run.search(fuse="auto")
    run.make(3)
    assert "<dt>stacking</dt>" not in page_of(run.folder)
    for gain in ("2.0", "1.8"):
        run.search(fuse="auto")
        run.event("search_note", note=f"3 trials train as one stacked model, {gain} times as fast as measured")
    search = section_of(page_of(run.folder), "search")
    assert "<dt>stacking</dt><dd>3 trials train as one stacked model, 1.8 times as fast as measured</dd>" in search
    assert "2.0 times" not in search
    run.search(fuse=False)
    assert "1.8 times" in page_of(run.folder)


def test_equal_scores_have_an_axis_around_them(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 3)
    run.search()
    for i in range(3):
        run.event("trial", trial=f"t{i:04d}", state="complete", params={"train.peak_lr": 0.1}, score=1.0, epochs=2,
                  seconds=1.0, curve=[1.0, 1.0])  # fmt: skip
    figures = figures_of(page_of(run.folder))
    for name in ("objective", "clock", "curves", "slice0"):
        assert figures[name]["layout"]["yaxis"]["range"] == [0.95, 1.0], name


def test_the_number_of_a_short_bar_is_left_out_and_who_trains_stands_apart(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 60)
    run.search()
    run.make(60)
    run.live()
    page = page_of(run.folder)
    bars = {trace["name"]: trace for trace in figures_of(page)["survivors"]["data"]}
    assert bars["still training"]["text"] == ["", "", ""]  # 1 of 57
    assert bars["went on"]["text"][0] == "28"
    assert {bar["textangle"] for bar in bars.values()} == {0}
    assert "2 epochs 57 28 28 1 50%" in text_of(section_of(page, "course"))


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    page = page_of(objectives_run(tmp_path / "adult"))
    front = section_of(page, "pareto")
    assert "On the front: 2 trials" in front
    drawn = figures_of(page)["pareto0"]["data"]
    on_front = next(trace for trace in drawn if trace["name"] == "front")
    assert on_front["x"] == sorted(on_front["x"])
    assert on_front["y"] == sorted(on_front["y"])  # slower and better
    assert {"importances0", "importances1"} & set(figures_of(page))
    run = MadeUpSearch(tmp_path / "one", 1, ("score", "latency_ms"))
    run.search()
    run.make(1)
    assert "On the front: 1 trial<" in page_of(run.folder)
    three = page_of(objectives_run(tmp_path / "three", 40, ("score", "latency_ms", "train_s")))
    assert {"pareto0", "pareto1", "pareto2"} <= set(figures_of(three))


def test_a_search_that_goes_on_says_what_runs_now(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 40)
    run.search()
    run.live()
    page = text_of(section_of(page_of(run.folder), "search"))  # before the first trial has ended
    assert "0 of 40 trials have ended, 1 trial in training" in page
    assert "t0000 slot-0 3" in page
    run.make(25)
    run.live()
    page = page_of(run.folder)
    assert "25 of 40 trials have ended" in page
    assert "still training" in [trace["name"] for trace in figures_of(page)["survivors"]["data"]]
    run.searched()
    assert "in training" not in page_of(run.folder)
    run.search()  # extended: the best of the first part is only the best so far
    run.make(15)
    run.live()
    assert "40 of 40 trials have ended" in page_of(run.folder)
    assert [trace["name"] for trace in figures_of(page_of(run.folder))["clock"]["data"]].count("best so far") == 1
    again = [trace for trace in figures_of(page_of(run.folder))["clock"]["data"] if trace["name"] == "begun again"]
    assert [trace["y"] for trace in again] == [[0, 1, None]]  # one line, named in the legend


def test_what_the_search_noted_and_whose_weights_the_best_took_are_shown(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 3)
    run.search(scheduler="pbt")
    run.event("search_note", note="slot-1 was lost with its machine")
    run.event("search_note", note="slot-1 was lost with its machine")
    run.make(3)
    step = {"level": 4, "from": "t0001", "params": {"train.peak_lr": 0.004}, "why": "0.71 is in the worst quarter"}
    best = max((told for told in run.told if told["state"] == "complete"), key=lambda told: told["score"])
    run.event("trial", **best, lineage=[step])
    search = text_of(section_of(page_of(run.folder), "search"))
    assert search.count("slot-1 was lost with its machine") == 1
    assert "4 epochs t0001 train.peak_lr 0.004 0.71 is in the worst quarter" in search


def test_half_a_live_file_costs_no_page(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 40)
    run.search()
    run.make(3)
    run.live()
    file = run.folder / "trials" / "live.json"
    file.write_text(file.read_text()[:40])
    assert "3 trials: 3 complete" in page_of(run.folder)


def test_few_trials_have_no_importances_and_say_so(tmp_path: Path) -> None:
    page = page_of(search_run(tmp_path / "adult", 16))
    assert "Too few trials to say what decides validation/accuracy: 15 have it" in page
    assert not any(name.startswith("importances") for name in figures_of(page))
    assert "the search&#x27;s study is not in the run" in page_of(full_run(tmp_path / "old")).replace("'", "&#x27;")


def test_a_run_of_an_older_version_lacks_only_what_it_never_said(tmp_path: Path) -> None:
    page = page_of(full_run(tmp_path / "adult"))
    assert section_of(page, "ledger")
    assert "start-up" not in section_of(page, "ledger")
    assert "Stopped early, by reason" not in page
    assert "survivors" not in figures_of(page)
    assert "found by" not in section_of(page, "trials")


def test_a_diverged_trial_does_not_flatten_the_others(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.trials(30)
    run.event("trial", trial="t9999", state="complete", params={"train.peak_lr": 0.1}, score=-40.0, epochs=20,
              seconds=1.0, cause=None, curve=[-40.0])  # fmt: skip
    layout = figures_of(page_of(run.folder))["objective"]["layout"]
    assert layout["yaxis"]["range"][0] > 0.5
    assert layout["annotations"][0]["text"] == "1 farther out; double-click shows all"


def test_no_text_of_a_search_becomes_markup(tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "nasty", 3, ("score", NASTY))
    run.search(sampler=NASTY, scheduler=NASTY, fuse=NASTY)
    told = {"params": {NASTY: NASTY}, "epochs": 2, "seconds": 1.0, "curve": [0.5, 0.6], "source": NASTY, "usd": 0.1}
    values = {"score": 0.6, NASTY: 1.0}
    for name, state in ((NASTY, "complete"), ("t1", "complete"), (NASTY + "2", "pruned"), (NASTY + "3", "failed")):
        rungs = [[2, 0.6], [6, 0.7]][: 2 if state == "complete" else 1]
        run.event("trial", trial=name, state=state, score=0.6, values=values, rungs=rungs, cause=NASTY, stopped=NASTY,
                  **told)  # fmt: skip
    (run.folder / "trials").mkdir()
    running = [{"trial": NASTY, "slot": NASTY, "epoch": NASTY, "fold": NASTY, "score": 0.5, "params": {NASTY: NASTY}}]
    (run.folder / "trials" / "live.json").write_text(json.dumps({"running": running, "num_done": 1, "num_trials": 2}))
    page = page_of(run.folder)
    assert page.count("</script>") == 3  # figures, plotly, ours
    assert "<script>alert" not in page
    assert {"pareto0", "curves", "survivors", "parallel", "slice0"} <= set(figures_of(page))
    run.event("searched", best_trial=NASTY, front=[NASTY], ended=NASTY)
    page = page_of(run.folder)
    assert "<script>alert" not in page
    assert "<dt>ended</dt>" in section_of(page, "search")


def test_a_search_of_10_000_trials_is_a_page_of_bounded_size_in_seconds(tmp_path: Path) -> None:
    folder = search_run(tmp_path / "adult", 10_000)
    began = time.process_time()
    page = page_of(folder)
    assert time.process_time() - began < 15  # 4 s on a core of its own
    assert len(page) < 2_500_000
    assert "The best 200 of 10,000 trials; all are in journal.jsonl" in page
    assert section_of(page, "trials").count("<tr>") == 201
    figures = figures_of(page)
    assert sum(len(trace["x"]) for trace in figures["objective"]["data"][:3]) <= 1500
    assert len(figures["curves"]["data"]) == 150
    best = next(trace for trace in figures["objective"]["data"] if trace["name"] == "best so far")
    assert max(best["y"]) in figures["objective"]["data"][2]["y"]  # who led is drawn, however few others are
    assert "10,000 drawn" in page or "1,500 of" in page
