"""Time and money over several executions, with a clock that the test turns."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.search.playing import config_of, played
from training.journal import Journal
from training.search.limits.spending import Spending
from training.search.messages import Heard, Told


class Purse:
    """One execution after the other, on one journal."""

    def __init__(self, tmp_path: Path, **search: Any) -> None:
        self.now = 1000.0
        self.config = config_of(played(tmp_path, **search))
        self.journal, self.live = Journal(tmp_path / "journal.jsonl"), tmp_path / "live.json"

    def execution(self, num_devices: float = 1.0) -> Spending:
        return Spending(self.config, self.journal, self.live, ["max"], num_devices, lambda: self.now)


def test_wall_time_counts_over_all_executions_and_keeps_its_reserve(tmp_path: Path) -> None:
    purse = Purse(tmp_path, budget={"wall_s": 100})
    one = purse.execution()
    assert one.deadline() == 1080.0
    purse.now += 50
    one.close()
    purse.now += 500  # nothing ran
    two = purse.execution()
    assert two.deadline() == pytest.approx(purse.now + 30)
    purse.now += 30
    assert two.why_to_end() == "the budget of 100 s is spent but for the reserve of 20 s for the final training"


def test_a_killed_drivers_books_come_from_what_it_showed_last(tmp_path: Path) -> None:
    purse = Purse(tmp_path, budget={"device_hours": 1, "reserve_fraction": 0.0})
    one = purse.execution(num_devices=2.0)
    one.slot_started("slot-0", 0.0)
    purse.now += 600
    purse.live.write_text(json.dumps({"ledger": one.fields()}))
    two = purse.execution(num_devices=2.0)
    assert two.fields()["device_s"] == 1200.0
    purse.live.write_text(json.dumps({"ledger": one.fields()})[:-9])  # killed while it wrote
    assert purse.execution().fields()["device_s"] == 0.0
    purse.live.unlink()
    assert purse.execution().fields()["device_s"] == 0.0


def test_money_is_that_of_all_slots_and_ends_the_search(tmp_path: Path) -> None:
    purse = Purse(tmp_path, budget={"usd": 1.0}, usd_per_device_hour=3.6)
    one = purse.execution()
    for slot in ("slot-0", "slot-1"):
        one.slot_started(slot, 0.0)
    assert one.deadline() == pytest.approx(purse.now + 400)
    purse.now += 400
    assert one.why_to_end() == "the budget of 1.00 USD is spent but for the reserve of 0.20 USD for the final training"


def test_patience_and_target_remember_earlier_executions(tmp_path: Path) -> None:
    purse = Purse(tmp_path, budget={"patience_trials": 3, "target": 0.9})
    for number, score in enumerate((0.5, 0.4)):
        purse.journal.append("trial", trial=f"t{number}", state="complete", score=score, values={"score": score})
    one = purse.execution()
    one.trial_ended(None, 1.0)
    assert one.why_to_end() == ""
    one.trial_ended([0.5], 1.0)
    assert one.why_to_end() == "3 trials have ended without a better score"
    one.trial_ended([0.95], 1.0)
    assert one.why_to_end().startswith("a score of 0.9500 has reached")


def test_lost_work_is_not_useful_and_the_sum_stays(tmp_path: Path) -> None:
    one = Purse(tmp_path).execution()
    one.heard(Heard("t0000", "running", 3, useful_s=10.0, startup_s=1.0), 0.0)
    one.heard(Heard("t0000", "running", 3, useful_s=5.0), 4.0)
    one.told(Told("p", waiting_s=2.0))
    fields = one.fields()
    assert (fields["useful_s"], fields["recomputed_s"], fields["startup_s"], fields["waiting_s"]) == (
        11.0,
        4.0,
        1.0,
        2.0,
    )


def test_a_budget_below_one_trial_names_a_number_that_would_do(tmp_path: Path) -> None:
    purse = Purse(tmp_path, budget={"wall_s": 100})
    one = purse.execution()
    assert one.too_small(60.0) == ""
    purse.now += 80
    told = one.too_small(60.0)
    assert told.startswith("search.budget.wall_s is too small for a trial: of 100 s, 20 s are kept")
    assert told.endswith("180 would do")
