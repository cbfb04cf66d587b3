"""How runs stand in the list of them, and what the lines about one say of a failure."""

from pathlib import Path

import pytest

from cluster.commands.runs import runs
from cluster.history import STATE_WIDTH
from cluster.summary_text import summary_text
from tests.training.made_up_runs import MadeUpRun, full_run
from training.run_record import BY_HAND, RunRecord


def listed(storage: Path, capsys: pytest.CaptureFixture[str]) -> str:
    runs(storage=str(storage))
    return capsys.readouterr().out


def test_a_long_failure_is_a_short_line_in_the_list_and_whole_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    message = f"every trial failed: {'the loss is not finite; ' * 20}the end\nhint: lower train.peak_lr"
    run.event("failed", stage="run", message=message)
    full_run(tmp_path / "whole")
    said = listed(tmp_path, capsys)
    assert "failed: every trial failed: the loss is not finite;" in said
    assert max(map(len, said.splitlines())) < STATE_WIDTH + 90
    whole = summary_text(RunRecord.read(run.folder))
    assert "the end\n           hint: lower train.peak_lr" in whole


def test_what_was_stopped_by_hand_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = MadeUpRun(tmp_path / "adult")
    run.start()
    run.event("failed", stage="run", message=BY_HAND)
    said = listed(tmp_path, capsys)
    assert "interrupted; the same command goes on" in said
    assert "failed" not in said
    assert "failure" not in summary_text(RunRecord.read(run.folder))
