"""What a drill found: the verdict, the text, the JSON and the picture."""

import json
import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from cluster.drill.compare import Difference
from cluster.drill.goodput import Goodput
from cluster.drill.picture import drill_svg
from cluster.drill.result import DrillResult, saving_of
from cluster.drill.text import drill_text
from tests.cluster.drill.made_up_results import made_up_result, with_two_workers

APART = Difference(1e-6, "last/0.weight", 12)
SVG = "{http://www.w3.org/2000/svg}"


def test_a_drill_in_which_all_went_well_is_ok() -> None:
    result = made_up_result()
    assert result.ok
    assert result.problems == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weights": APART}, "the weights differ: last/0.weight by 1e-06"),
        ({"history": APART}, "the history differs"),
        ({"num_missed": 3}, "3 events never fell"),
        ({"outcomes": ()}, "no event fell"),
        ({"lost": "exit code 1", "weights": None, "history": None}, "the run was lost: exit code 1"),
    ],
)
def test_whatever_must_not_be_is_a_problem(change: dict[str, object], problem: str) -> None:
    result: DrillResult = replace(made_up_result(), **change)  # type: ignore[arg-type]  # one field a case
    assert not result.ok
    assert any(found.startswith(problem) for found in result.problems), result.problems


def test_a_bad_event_is_named() -> None:
    result = made_up_result()
    bad = replace(result.outcomes[0], problem="7 steps lost in spite of the notice")
    result = replace(result, outcomes=(bad, result.outcomes[1]))
    assert result.problems == ("event 1, notice: 7 steps lost in spite of the notice",)
    assert "7 steps lost in spite of the notice" in drill_text(result)


def test_fewer_steps_than_the_unbroken_run_are_a_problem() -> None:
    result = made_up_result()
    assert not replace(result, broken=replace(result.broken, num_steps=999)).ok


def test_other_numbers_of_workers_may_differ_in_the_last_bits() -> None:
    result = with_two_workers(replace(made_up_result(), weights=APART))
    assert result.ok
    assert "differ by at most 1e-06, in last/0.weight, as sums over other numbers of workers do" in drill_text(result)


def test_goodput_tells_the_wall_time_from_that_with_machines() -> None:
    goodput = Goodput(useful_s=50.0, wall_s=200.0, absent_s=100.0, num_blows=4)
    assert (goodput.of_wall, goodput.of_machines) == (0.25, 0.5)
    assert goodput.cost_s(unbroken_wall_s=60.0) == 10.0
    assert goodput.at_one_an_hour(60.0) == pytest.approx(3600 / 3610)


def test_what_checkpoints_cost_is_the_mean_over_all_that_were_told() -> None:
    events: list[dict[str, Any]] = [
        {"event": "checkpoint", "count": 1, "cost_s": 0.1},
        {"event": "epoch"},
        {"event": "checkpoint", "count": 9, "cost_s": 0.02},
    ]
    saving = saving_of(events, 10, 5000, 100.0)
    assert saving.cost_s == pytest.approx(0.028)
    assert saving.blocked_fraction == pytest.approx(0.0028)
    assert math.isnan(saving_of([], 0, 0, 100.0).cost_s)


def test_the_json_is_json_also_where_nothing_was_measured() -> None:
    result = replace(made_up_result(), saving=saving_of([], 0, 0, 0.0))
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert told["checkpoints"]["cost_s"] is None
    assert [event["steps_lost"] for event in told["events"]] == [0, 40]
    assert told["weights"]["equal"] is True
    assert told["goodput"]["of_wall"] == pytest.approx(0.4)


def test_the_picture_shows_every_event_and_the_time_without_machines() -> None:
    result = made_up_result()
    bad = replace(result.outcomes[1], problem="not resumed")
    result = replace(result, outcomes=(result.outcomes[0], bad))
    root = ElementTree.fromstring(drill_svg(result))
    circles = [element.get("class") for element in root.iter(f"{SVG}circle")]
    assert circles.count("notice") == 2  # one on the line, one in the legend
    assert circles.count("worker") == 2
    assert circles.count("bad") == 1
    assert sum(element.get("class") == "absent" for element in root.iter(f"{SVG}rect")) == 2
    lines = [element.get("class") for element in root.iter(f"{SVG}polyline")]
    assert lines == ["line unbroken", "line broken"]


def test_a_name_cannot_break_the_picture() -> None:
    assert ElementTree.fromstring(drill_svg(replace(made_up_result(), name="a<b & c"))) is not None
