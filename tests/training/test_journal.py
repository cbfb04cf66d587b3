"""The record of a run survives its writer."""

from pathlib import Path

from training.journal import Journal


def test_events_come_back_in_order_and_by_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.last("fit") is None
    journal.append("epoch", epoch=1)
    journal.append("fit", best=1)
    journal.append("epoch", epoch=2)
    assert [event["epoch"] for event in journal.events("epoch")] == [1, 2]
    assert [event["event"] for event in journal.events()] == ["epoch", "fit", "epoch"]


def test_a_line_cut_off_by_a_crash_costs_itself_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("epoch", epoch=1)
    with journal.path.open("a") as file:
        file.write('{"event": "epoch", "epo')
    journal.append("epoch", epoch=3)
    assert [event["epoch"] for event in journal.events("epoch")] == [1, 3]


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text('5\nnull\n["epoch"]\n')
    journal.append("epoch", epoch=1)
    assert [event["epoch"] for event in journal.events()] == [1]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("epoch", metrics={"loss": float("nan"), "curve": [1.0, float("inf")]})
    assert "NaN" not in journal.path.read_text()
    assert journal.last("epoch")["metrics"] == {"loss": None, "curve": [1.0, None]}
