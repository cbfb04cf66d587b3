"""Recorded histories of spot machines."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from cluster.drill.errors import DrillError
from cluster.drill.trace import Change, Trace, acceleration_for, changes_of, read_trace


def test_a_trace_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"metadata": {"gap_seconds": 32}, "data": [0, 1, 1, 0]}))
    assert read_trace(path) == Trace(32.0, (0, 1, 1, 0))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ([1, 0], "metadata.gap_seconds is None"),
        ({"metadata": [], "data": [1]}, "metadata.gap_seconds is None"),
        ({"metadata": {"gap_seconds": 0}, "data": [1]}, "metadata.gap_seconds is 0"),
        ({"metadata": {"gap_seconds": "32"}, "data": [1]}, "metadata.gap_seconds is '32'"),
        ({"metadata": {"gap_seconds": 32}}, "data is no list of numbers"),
        ({"metadata": {"gap_seconds": 32}, "data": [1, "up"]}, "data is no list of numbers"),
        ({"metadata": {"gap_seconds": 32}, "data": [1, -1]}, "data is no list of numbers"),
        ({"metadata": {"gap_seconds": 32}, "data": [0, 0]}, "no machine at any time"),
        ({"metadata": {"gap_seconds": 32}, "data": []}, "no machine at any time"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_form(tmp_path: Path, content: Any, problem: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DrillError) as error:
        read_trace(path)
    assert problem in error.value.message
    assert "gap_seconds" in error.value.hint


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(DrillError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DrillError, match="cannot be read"):
        read_trace(tmp_path / "binary")


def test_changes_begin_with_the_first_machine_and_go_on_for_ever() -> None:
    trace = Trace(30.0, (0, 1, 1, 0, 1, 1))
    changes = list(islice(changes_of(trace, acceleration=10.0, num_nodes=1), 6))
    # 0 for the start; down at index 3; up at 4; the trace again from index 6, its first value being down
    assert changes == [
        Change(0.0, 1), Change(6.0, 0), Change(9.0, 1), Change(15.0, 0), Change(18.0, 1), Change(24.0, 0),
    ]  # fmt: skip


def test_the_trace_s_most_machines_are_all_of_ours_and_fewer_are_a_share_rounded_down() -> None:
    trace = Trace(1.0, (4, 3, 1, 4))
    assert [change.num_nodes for change in islice(changes_of(trace, 1.0, 2), 4)] == [2, 1, 0, 2]
    assert [change.num_nodes for change in islice(changes_of(trace, 1.0, 4), 4)] == [4, 3, 1, 4]


def test_the_speed_is_such_that_the_losses_come_while_the_training_lasts() -> None:
    hour = Trace(60.0, (1,) * 60 + (0,) * 10)
    # Ten losses in 100 s of steps, each costing 5 s: about 15 s of machines to a loss, which are an hour of the trace.
    found = acceleration_for(hour, num_losses=10, useful_s=100.0, overhead_s=5.0)
    assert 3600 / 15.5 < found < 3600 / 15 * 1.2
    assert acceleration_for(hour, 10, 200.0, 5.0) < found
    assert acceleration_for(hour, 10, 1e9, 5.0) == 1.0


def test_a_long_first_time_without_a_loss_is_reckoned_with() -> None:
    trace = Trace(60.0, (1,) * 600 + (0,) + (1, 0) * 20)
    found = acceleration_for(trace, num_losses=3, useful_s=24.0, overhead_s=18.0)
    assert 600 * 60 / found < 24.0 + 18.0  # the first loss comes before the training is done


def test_a_trace_without_a_loss_cannot_be_aimed_with() -> None:
    with pytest.raises(DrillError, match="never loses a machine"):
        acceleration_for(Trace(10.0, (1, 1)), 1, 10.0, 1.0)
