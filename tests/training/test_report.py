"""The report: everything of a run on one page, whatever state the run is in, and no text of a run can run as code."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.made_up_runs import NASTY, MadeUpRun, full_run, interrupted_run, nasty_run
from training.errors import StorageError
from training.event_text import duration
from training.report import write_report
from training.report.page import render
from training.report.text import setting, size
from training.run_record import RunRecord


def page_of(folder: Path) -> str:
    """The written page without plotly's own 5 MB."""
    text = write_report(folder).read_text()
    return re.sub(r"<script>/\*\*.*?</script>", "<script>plotly</script>", text, flags=re.DOTALL)


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    figures: dict[str, Any] = json.loads(found[1])
    return figures


def test_a_full_run_shows_all_of_its_parts(tmp_path: Path) -> None:
    page = page_of(full_run(tmp_path / "adult"))
    for text in (
        ">adult <", ">finished<", "0.8559", "int8 is faster and keeps the score", "adult@3", "http://127.0.0.1:8000",
        "40 trials: 21 complete, 16 pruned, 3 failed", "the loss is not finite at step 12", "t0012, t0025, t0038",
        "22 epochs, the best was 14", "2.2 MB", "99.5%", "0.091 / 0.155 ms", "27,676 train", "AMD EPYC 7763",
        "torch 2.13.0",        "data/adult-test.csv", "<b>41 s</b>", "run configs/adult.yaml",
    ):  # fmt: skip
        assert text in page, text
    slices = {f"slice{i}" for i in range(4)}
    assert set(figures_of(page)) == {
        "objective", "clock", "curves", "parallel", "losses", "scores", "variants"
    } | slices  # fmt: skip


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    text = write_report(full_run(tmp_path / "adult")).read_text()
    assert text.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text.split("<script>/**")[0])
    assert [path.name for path in (tmp_path / "adult").iterdir() if path.suffix == ".tmp"] == []


def test_charts_hold_the_runs_numbers(tmp_path: Path) -> None:
    figures = figures_of(page_of(full_run(tmp_path / "adult")))
    early, later, complete, best, failed = figures["objective"]["data"]
    assert (early["name"], later["name"]) == ("stopped after 2 epochs", "stopped after 6 epochs")
    assert (len(early["x"]) + len(later["x"]), len(complete["x"]), len(failed["x"])) == (16, 21, 3)
    assert best["y"] == sorted(best["y"])
    assert best["y"][-1] == max(complete["y"])
    curves = figures["curves"]["data"]
    assert len(curves) == 37
    assert (curves[-1]["name"], curves[-1]["line"]["color"]) == ("t0003", "@second")  # the best one is drawn last
    axes = {axis["label"]: axis for axis in figures["parallel"]["data"][0]["dimensions"]}
    assert axes["peak_lr"]["ticktext"] == ["1e-4", "1e-3", "1e-2", "1e-1"]
    assert axes["hidden"]["ticktext"] == ["[128]", "[256, 256]", "[512, 256, 128]"]
    assert axes["global_batch_size"]["ticktext"] == ["128", "256", "512"]
    assert len(figures["losses"]["data"][0]["x"]) == 22


@pytest.mark.parametrize("stage", ["empty", "data", "searching", "no search", "failed", "only failures"])
def test_any_run_has_a_report(stage: str, tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    if stage != "empty":
        run.start()
        run.data()
    match stage:
        case "searching":
            run.trials(5)
        case "no search":
            run.epochs(3)
            run.fitted()
        case "failed":
            run.event("failed", stage="train", message="2 workers asked for, the cluster has 1 CPU\nhint: fewer")
        case "only failures":
            run.event(
                "trial",
                trial="t1",
                state="failed",
                params={"a": 1},
                score=None,
                epochs=0,
                seconds=0.1,
                cause="boom",
                curve=[],
            )
    page = page_of(run.folder)
    expected = {
        "empty": "not started", "data": "27,676 train", "searching": "5 trials", "no search": "3 epochs",
        "failed": "hint: fewer", "only failures": "boom",
    }  # fmt: skip
    assert expected[stage] in page
    assert ("<script>plotly</script>" in page) == (stage in ("searching", "no search"))
    assert f">{'failed' if stage == 'failed' else 'unfinished'}<" in page


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    page = page_of(nasty_run(tmp_path / "nasty"))
    assert NASTY not in page
    assert "<script>alert" not in page
    assert page.count("</script>") == 3  # figures, plotly, ours
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page


def test_scores_that_are_not_numbers_leave_a_page_that_browsers_can_read(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.event("trial", trial="t1", state="complete", params={}, score=float("nan"), epochs=1, seconds=1.0, cause=None,
              curve=[float("nan"), 0.5])  # fmt: skip
    run.event("epoch", epoch=1, metrics={"train/loss": float("inf")}, seconds=1.0)
    figures = figures_of(page_of(run.folder))
    assert figures["curves"]["data"][0]["y"] == [None, 0.5]
    assert figures["losses"]["data"][0]["y"] == [None]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is not a run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_report_loads_neither_torch_nor_ray() -> None:
    code = "import sys, training.report, training.summary; print({'torch', 'ray'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"


def test_rendering_does_not_touch_the_folder(tmp_path: Path) -> None:
    folder = full_run(tmp_path / "adult")
    assert render(RunRecord.read(folder)).startswith("<!doctype html>")
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12.4, "12 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_settings_and_sizes_are_short() -> None:
    assert [setting(value) for value in (0.000123456, 3, [1, 2.0], "adam", None)] == [
        "0.000123",
        "3",
        "[1, 2]",
        "adam",
        "None",
    ]
    assert [size(value) for value in (900, 36_024, 8_715_839)] == ["1 KB", "36 KB", "8.7 MB"]


def test_a_training_that_was_interrupted_says_where_and_why(tmp_path: Path) -> None:
    page = page_of(interrupted_run(tmp_path / "adult"))
    for text in (
        "22 epochs, the best was 14; resumed 3 times, 42 steps lost where that is known, 24 s to resume",
        "<h3>What happened</h3>",
        "training saved itself and left (node 10.0.0.7 is being drained)", "goes on with 1 worker, 8.7 s later",
        "begun again: run configs/adult.yaml", "goes on with 2 workers, 2.1 s later</td>",
        "training diverged (the loss became nan); back to step 780",
        "its process ended without an error of its own", '<td class="num">1,105</td>',
    ):  # fmt: skip
        assert text in page, text
    figures = figures_of(page)
    lines = {trace["name"]: trace["x"] for trace in figures["scores"]["data"] if trace.get("yaxis") == "y2"}
    assert lines == {
        "preempted": [6.5, 6.5, None], "killed": [10.5, 10.5, None], "rolled back": [12.5, 12.5, None],
        "begun again": [17.5, 17.5, None],
    }  # fmt: skip
    best = figures["scores"]["data"][-1]
    assert (best["x"], best["text"]) == ([14], ["best: 14"])
    assert best["y"][0] == figures["scores"]["data"][0]["y"][13]
    assert figures["pace"]["data"][0]["y"][5:8] == [41_200.0, 20_900.0, 20_900.0]
    assert figures["waiting"]["data"][0]["y"][:2] == pytest.approx([1.2, 1.2])  # percent
    assert figures["workers"]["data"][0]["y"][5:8] == [2, 1, 1]
    assert figures["rate"]["data"][0]["y"][-1] == 1e-4


def test_a_calm_training_has_no_lines_and_no_list(tmp_path: Path) -> None:
    page = page_of(full_run(tmp_path / "adult"))
    assert "What happened" not in page
    assert all(trace.get("yaxis") != "y2" for trace in figures_of(page)["scores"]["data"])
    assert not {"pace", "waiting", "rate", "workers"} & set(figures_of(page))


def test_another_trainings_epochs_do_not_mix_with_the_final_ones(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.epochs(3, training="t0007")
    run.epochs(5, training="t0003")
    assert len(RunRecord.read(run.folder).epochs) == 5
    run.fitted()
    run.epochs(2, training="t0009")
    assert [event["training"] for event in RunRecord.read(run.folder).epochs] == ["t0003"] * 5


def test_no_password_of_the_settings_is_shown(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult", {"name": "adult", "data": {"source": "postgresql://me:hunter2@db/x"}})
    run.start()
    assert "hunter2" not in page_of(run.folder)
    assert "postgresql://me:***@db/x" in page_of(run.folder)
