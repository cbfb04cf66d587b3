"""Where time and money went: nothing is counted twice, and what a killed driver spent is not forgotten."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.journal import Journal
from training.search.limits.ledger import Ledger, Totals, devices_of, ledger_text, totals_before, usd_of


def test_slots_are_paid_for_from_start_to_end() -> None:
    ledger = Ledger(Totals(), began=100.0)
    ledger.slot_started("slot-0", 2.0, now=101.0)
    ledger.slot_started("slot-1", 2.0, now=103.0)
    ledger.slot_started("slot-1", 2.0, now=105.0)  # its process died, and another one came up in its place
    ledger.slot_ended("slot-0", now=111.0)
    ledger.slot_ended("slot-0", now=112.0)
    assert ledger.devices_held == 2.0
    totals = ledger.totals(now=113.0)
    assert totals.wall_s == 13.0
    assert totals.device_s == 2 * 10 + 2 * 10
    assert totals.usd(3.6) == pytest.approx(0.04)
    assert totals.usd(None) is None


def test_what_slots_tell_adds_up_in_seconds_of_devices() -> None:
    ledger = Ledger(Totals(device_s=5.0, useful_s=4.0, wall_s=7.0), began=0.0)
    ledger.slot_started("slot-0", 4.0, now=0.0)
    ledger.spent(4.0, useful_s=2.0, startup_s=0.5)
    ledger.spent(4.0, useful_s=1.0, waiting_s=0.25)
    ledger.spent(4.0, useful_s=-0.5, recomputed_s=0.5)  # a process died, and took half a second of work with it
    totals = ledger.totals(now=10.0)
    assert totals == Totals(
        wall_s=17.0, device_s=45.0, useful_s=4.0 + 10.0, startup_s=2.0, waiting_s=1.0, recomputed_s=2.0
    )
    assert totals.other_s == 45.0 - 19.0
    told = ledger_text(totals, 3600.0, "CPU")
    assert told == "45 CPU seconds (useful 31%, start-up 4%, waiting 2%, done again 4%, other 58%), 45.00 USD"
    assert Totals.of(totals.fields(3600.0)) == totals
    assert totals.fields(3600.0)["usd"] == 45.0


@given(st.floats(0, 8), st.floats(0, 8))
def test_devices_are_gpus_where_there_are_some(cpus: float, gpus: float) -> None:
    assert devices_of(cpus, gpus) == (gpus or cpus)


def test_a_trial_costs_its_seconds() -> None:
    assert usd_of(1800.0, 2.0, 3.0) == pytest.approx(3.0)
    assert usd_of(1800.0, 2.0, None) is None


def search_event(slots: int = 2, cpus: float = 2.0) -> dict[str, float]:
    return {"num_slots": slots, "cpus_per_slot": cpus, "gpus_per_slot": 0.0}


def written(path: Path, events: list[tuple[str, float, dict[str, object]]]) -> Journal:
    journal = Journal(path)
    with path.open("a") as file:
        file.writelines(json.dumps({"event": kind, "time": at, **more}) + "\n" for kind, at, more in events)
    return journal


def test_an_execution_that_ended_says_what_all_together_spent(tmp_path: Path) -> None:
    total = Totals(wall_s=50.0, device_s=150.0, useful_s=120.0)
    journal = written(tmp_path / "journal.jsonl", [
        ("search", 1000.0, search_event()), ("trial", 1010.0, {"seconds": 9.0}),
        ("searched", 1020.0, {"ledger": Totals(wall_s=20.0, device_s=60.0).fields(None)}),
        ("search", 5000.0, search_event()), ("trial", 5010.0, {"seconds": 9.0}),
        ("searched", 5030.0, {"ledger": total.fields(None)}),
    ])  # fmt: skip
    assert totals_before(journal.events()) == total
    assert totals_before([]) == Totals()


def test_a_killed_execution_left_a_live_file(tmp_path: Path) -> None:
    journal = written(tmp_path / "journal.jsonl", [
        ("search", 1000.0, search_event()), ("searched", 1020.0, {"ledger": {"wall_s": 20.0, "device_s": 60.0}}),
        ("search", 5000.0, search_event()),
    ])  # fmt: skip
    live = {"time": 5009.0, "ledger": {"wall_s": 29.0, "device_s": 92.0, "waiting_s": 1.0, "usd": None}}
    assert totals_before(journal.events(), live) == Totals(wall_s=29.0, device_s=92.0, waiting_s=1.0)


def test_a_live_file_that_is_lost_or_old_costs_little(tmp_path: Path) -> None:
    journal = written(tmp_path / "journal.jsonl", [
        ("search", 1000.0, search_event()),
        ("ledger", 1060.0, {"ledger": {"wall_s": 60.0, "device_s": 230.0, "useful_s": 100.0}}),
        ("trial", 1070.0, {"seconds": 3.0}), ("trial", 1090.0, {"seconds": 4.0}),
        ("search", 2000.0, search_event(slots=1, cpus=1.0)), ("trial", 2005.0, {"seconds": 2.0}),
    ])  # fmt: skip
    old = {"ledger": {"wall_s": 58.0, "device_s": 220.0}}
    for live in (None, {}, old):
        found = totals_before(journal.events(), live)
        assert found.wall_s == 60.0 + 30.0 + 5.0
        assert found.device_s == 230.0 + 30.0 * 4 + 5.0
        assert found.useful_s == 109.0
