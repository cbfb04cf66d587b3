"""The page of a run that compressed: the choice, the chart, the table, and what older runs lack."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.training.made_up_runs import NASTY, MadeUpRun, full_run
from tests.training.report.compressed_runs import (
    FORMS,
    FRONT,
    REFUSED,
    compared_by,
    compressed_event,
    compressed_run,
    variant,
)
from tests.training.report.pages import figures_of, page_of, section_of, text_of
from training.report.compress_charts import INSIDE_PX
from training.report.point_labels import CHARACTER_PX, LINE_PX, SCREEN_WIDTHS_PX, Axes, Named, annotations
from training.run_record import RunRecord
from training.variants_view import drop_text, price_text, side_by_side


def seen_of(page: str) -> str:
    return text_of(section_of(page, "variants"))


def traces_of(page: str) -> dict[str, Any]:
    return {trace.get("name", "line"): trace for trace in figures_of(page)["variants"]["data"]}


def test_the_choice_and_everything_behind_it_is_on_the_page(tmp_path: Path) -> None:
    seen = seen_of(page_of(compressed_run(tmp_path / "adult")))
    for told in (
        "★ structured-50+int8_static : structured-50+int8_static answers one row in 0.046 ms",
        "structured-50+int8_static ★ ★ chosen 0.8538 +0.0023 (+0.0006 to +0.0040) 655 KB, 13.3x smaller 0.0373 / 0.046",
        "12.4 MB", "$0.00092",
        "99.0% 73.0% 455 of 16,281 onnxruntime structured 50% → 5 epochs → static int8, 512 rows",
        "fp32 ● on the front 0.8561 as trained 8.7 MB", "○ int4 it loses 0.0312 of test/accuracy, and 0.005 is allowed",
        "◆ offered", "Not made bf16 ONNX Runtime has no kernels of bf16 for CPUs",
        "structured-50 native-country = Mexico 308 0.9420 0.9080 +0.0340 0.0004 ✕ sacrificed",
        "structured-50+int8_static ★ (class) = &gt;50K 3,846", "0.01 is allowed", "Students tried: 4",
        "70% – – out of memory",
        "30% 251,904 0.8512 model.hidden=[307, 307, 307]", "measured on AMD EPYC 9354P, 8 cores", "threads of a call 1",
        "p99 of 1 row, 0.005 of test/accuracy may be lost", "$0.4 an hour",
    ):  # fmt: skip
        assert told in seen, told
    assert "distilled-30 (class)" not in seen  # of what is not served only what was sacrificed


def test_every_head_names_its_column_and_every_cell_can_be_sorted(tmp_path: Path) -> None:
    table = section_of(page_of(compressed_run(tmp_path / "adult")), "variants").partition("</table>")[0]
    num_heads = table.count('<th scope="col"><button>')
    assert num_heads == 15
    assert table.count("data-key=") == num_heads * len(FORMS)


def test_the_chart_has_each_form_with_its_interval_and_the_front(tmp_path: Path) -> None:
    page = page_of(compressed_run(tmp_path / "adult"))
    traces = traces_of(page)
    assert {name: len(trace["x"]) for name, trace in traces.items()} == {
        "line": 5, "not offered": len(REFUSED), "offered": 1, "on the front": len(FRONT) - 1, "chosen": 1,
    }  # fmt: skip
    chosen = traces["chosen"]
    assert (chosen["x"], chosen["y"], chosen["marker"]["symbol"]) == ([0.046], [0.0023], ["star"])
    assert chosen["error_y"]["array"] + chosen["error_y"]["arrayminus"] == pytest.approx([0.0017, 0.0017])
    assert chosen["error_x"]["array"] == pytest.approx([0.06 * 0.046])
    shape = {trace["marker"]["symbol"][0] for name, trace in traces.items() if name != "line"}
    assert len(shape) == 4  # nobody needs the colours
    line = traces["line"]
    assert line["x"] == sorted(line["x"])
    assert line["y"] == sorted(line["y"], reverse=True)
    layout = figures_of(page)["variants"]["layout"]
    assert layout["shapes"][0]["y0"] == 0.005
    assert layout["xaxis"]["type"] == "log"


def test_a_form_that_lost_all_does_not_press_the_others_onto_a_line(tmp_path: Path) -> None:
    page = page_of(compressed_run(tmp_path / "adult"))
    refused = traces_of(page)["not offered"]
    at = refused["marker"]["symbol"].index("triangle-up-open")
    assert refused["y"][at] < figures_of(page)["variants"]["layout"]["yaxis"]["range"][1] < 0.0312
    assert refused["error_y"]["array"][at] is None
    assert "<b>int4</b><br>test/accuracy 0.8249, drop +0.0312" in refused["hovertext"][at]
    assert "int4 (+0.0312)" in [each["text"] for each in figures_of(page)["variants"]["layout"]["annotations"]]


@pytest.mark.parametrize(
    ("objective", "title", "x"),
    [
        ("size", "size, MB", 0.6553),
        ("cost", "USD per million predictions", 0.00092),
        ("latency_p50", "p50 of 1 row, ms", 0.03726),
    ],
)
def test_the_axis_is_what_was_made_small(objective: str, title: str, x: float, tmp_path: Path) -> None:
    page = page_of(compressed_run(tmp_path / "adult", **compared_by(objective)))
    assert figures_of(page)["variants"]["layout"]["xaxis"]["title"]["text"] == title
    assert traces_of(page)["chosen"]["x"] == pytest.approx([x])


def test_an_error_rises_by_shares_of_the_models_own(tmp_path: Path) -> None:
    page = page_of(compressed_run(tmp_path / "adult", mode="min", max_drop=0.02, metric="test/accuracy"))
    assert figures_of(page)["variants"]["layout"]["yaxis"]["title"]["text"] == "rise of test/accuracy, share of fp32's"
    assert "+0.23% (+0.06% to +0.40%)" in seen_of(page)
    assert "2% of test/accuracy may be lost" in seen_of(page)


def judged_by(told: dict[str, Any], metric: str, *forms: str) -> None:
    for each in told["variants"]:
        if each["quality"] and (each["name"] in forms or not forms):
            each["quality"]["metric"] = metric


def test_a_drop_says_of_which_score_it_is(tmp_path: Path) -> None:
    told = compressed_event()
    judged_by(told, "test/roc_auc")
    page = page_of(compressed_run(tmp_path / "adult", **told))
    assert "drop of test/roc_auc (95 % interval)" in seen_of(page)
    assert "p99 of 1 row, 0.005 of test/roc_auc may be lost" in seen_of(page)
    assert figures_of(page)["variants"]["layout"]["yaxis"]["title"]["text"] == "drop of test/roc_auc"
    assert "test/accuracy 0.8249, drop of test/roc_auc +0.0312" in json.dumps(figures_of(page)["variants"])


def test_drops_of_different_scores_stand_on_no_axis_together(tmp_path: Path) -> None:
    told = compressed_event()
    judged_by(told, "other/log_loss", "int8_static@openvino")  # made last; a rise in percent
    page = page_of(compressed_run(tmp_path / "adult", **told))
    seen = seen_of(page)
    assert "rise of other/log_loss (95 % interval)" in seen
    assert "+0.13% (+0.02% to +0.24%)" in seen
    assert "+0.0023 (+0.0006 to +0.0040) of test/accuracy" in seen
    drawn = [trace["x"] for name, trace in traces_of(page).items() if name != "line"]
    assert sum(map(len, drawn)) == 2  # the baseline and that form
    judged_by(told, "other/accuracy", "int8_static@openvino")
    page = page_of(compressed_run(tmp_path / "again", **told))
    assert "+0.0023 (+0.0006 to +0.0040) of test/accuracy" in seen_of(page)
    assert sum(len(trace["x"]) for name, trace in traces_of(page).items() if name != "line") == len(FORMS)


def test_a_form_that_was_scored_on_other_rows_says_so(tmp_path: Path) -> None:
    told = compressed_event()
    next(each for each in told["variants"] if each["name"] == "fp16")["metrics"] = {"other/accuracy": 0.75}
    assert "fp16 ○ not offered 0.7500 (other/accuracy)" in seen_of(page_of(compressed_run(tmp_path / "adult", **told)))


def test_tiny_scores_losses_and_prices_keep_their_digits(tmp_path: Path) -> None:
    told = compressed_event()
    int8 = next(each for each in told["variants"] if each["name"] == "int8")
    int8["metrics"]["test/accuracy"] = 0.000012346
    int8["quality"] |= {"drop": 1.23e-6, "low": -4e-6, "high": 5e-6}
    told["comparison"]["costs"]["int8"]["usd_per_million"] = 0.0000123
    page = page_of(compressed_run(tmp_path / "adult", **told))
    assert "1.235e-05 +1.23e-06 (-4e-06 to +5e-06)" in seen_of(page)
    assert "$0.0000123" in seen_of(page)
    assert "under $" not in page


@pytest.mark.parametrize(
    ("drop", "is_share", "told"),
    [
        (0.0, False, "0.0000"), (-1e-17, False, "0.0000"), (-1e-17, True, "0.00%"), (0.0023, True, "+0.23%"),
        (0.00001234, True, "+0.00123%"), (-0.00001234, False, "-1.234e-05"), (None, False, "–"),
    ],
)  # fmt: skip
def test_losses_as_text(drop: float | None, is_share: bool, told: str) -> None:
    assert drop_text(drop, is_share=is_share) == told


def test_prices_as_text() -> None:
    assert [price_text(usd) for usd in (0.0, 12.345, 1.0, 0.5, 0.0123, 0.00000456789)] == [
        "$0.00", "$12.35", "$1.00", "$0.50", "$0.0123", "$0.00000457",
    ]  # fmt: skip


def test_answers_that_are_no_numbers_leave_a_page(tmp_path: Path) -> None:
    """The journal keeps NaN as null."""
    told = compressed_event()
    broken = next(each for each in told["variants"] if each["name"] == "int4")
    broken["metrics"]["test/accuracy"] = None
    broken["quality"] |= {"drop": None, "low": None, "high": None}
    folder = compressed_run(tmp_path / "adult", variants=told["variants"])
    assert "int4 ○ not offered – – 1.3 MB" in seen_of(page_of(folder))
    found = {each.name: each for each in RunRecord.read(folder).variants}["int4"]
    assert found.quality is not None
    assert math.isnan(found.quality.drop)


def test_an_older_run_shows_what_it_has(tmp_path: Path) -> None:
    page = page_of(full_run(tmp_path / "adult"))
    seen = seen_of(page)
    for told in (
        "int8 ★ ★ chosen 0.8559 +0.0002 2.2 MB, 3.89x smaller 0.091 / 0.155 ms",
        "measured on AMD EPYC 7763, 2 cores, avx2",
    ):
        assert told in seen, told
    for lacking in ("one thread", "memory", "per million", "Slices", "Not made", "Students", "8 rows"):
        assert lacking not in seen
    assert traces_of(page)["chosen"]["error_y"]["array"] == [None]
    assert (
        "shapes" not in figures_of(page)["variants"]["layout"] or not figures_of(page)["variants"]["layout"]["shapes"]
    )


def test_what_was_measured_elsewhere_is_not_set_beside_the_others(tmp_path: Path) -> None:
    told = compressed_event()
    foreign = variant("fp16").model_copy(update={"name": "fp16@gpu", "runtime": "torch", "device": "cuda"})
    folder = compressed_run(tmp_path / "adult", variants=[*told["variants"], foreign.model_dump(mode="json")])
    page = page_of(folder)
    assert "fp16@gpu – not measured here" in seen_of(page)
    assert "fp16@gpu" not in json.dumps(figures_of(page)["variants"])
    seen = side_by_side(RunRecord.read(folder))
    assert seen is not None
    assert seen.forms[-1].latency == {}


def test_no_text_of_a_comparison_becomes_markup(tmp_path: Path) -> None:
    told = compressed_event()
    told["comparison"]["notes"] = dict.fromkeys(FORMS, NASTY)
    for each in told["variants"]:
        each["steps"] = [NASTY]
        for part in (each["quality"] or {"slices": []})["slices"]:
            part["column"] = part["value"] = NASTY
    nasty = {"not_made": {NASTY: NASTY}, "distilled": [{"share": 0.1, "settings": {NASTY: NASTY}}, {"failed": NASTY}]}
    page = page_of(compressed_run(tmp_path / "adult", **(told | nasty)))
    assert NASTY not in page
    assert "<script>alert" not in page


def boxes(axes: Axes, points: list[Named], width: int) -> list[tuple[float, float, float, float]]:
    """Of the names and marks on a screen."""
    found = []
    by_text = {point.text: point for point in points}
    for each in annotations(axes, points, [], INSIDE_PX):
        across, down = axes.place(by_text[each["text"]].x, by_text[each["text"]].y)
        x, y, long = across * width + each["ax"], down * INSIDE_PX + each["ay"], CHARACTER_PX * len(each["text"])
        left = {"left": x, "right": x - long, "center": x - long / 2}[each["xanchor"]]
        top = {"top": y, "bottom": y - LINE_PX, "middle": y - LINE_PX / 2}[each["yanchor"]]
        found.append((left, top, left + long, top + LINE_PX))
    return found


@pytest.mark.parametrize("width", SCREEN_WIDTHS_PX)
def test_names_of_points_that_lie_together_do_not_cover_each_other(width: int) -> None:
    axes = Axes((0.0, 1.0), (0.0, 1.0), is_log=False)
    points = [Named(f"variant-{i}", 0.4 + 0.02 * i, 0.5 + 0.01 * (i % 3), 6) for i in range(8)]
    found = boxes(axes, points, width)
    assert len(found) == 8
    assert all(a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3] for a, b in combinations(found, 2))
    assert all(left >= 0 and top >= 0 and right <= width and bottom <= INSIDE_PX for left, top, right, bottom in found)


def test_a_run_that_only_keeps_the_model_as_trained_has_a_section(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    alone = variant("fp32").model_copy(update={"note": ""}).model_dump(mode="json")
    run.event(
        "compressed", variants=[alone], chosen="fp32", reason="it is the only one", metric="test/accuracy", seconds=1
    )
    page = page_of(run.folder)
    assert "★ fp32 : it is the only one" in seen_of(page)
    assert traces_of(page)["chosen"]["y"] == [0.0]
