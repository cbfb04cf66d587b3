"""When a search ends, and what it keeps back for the final training."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.search.limits.budget import End, Refit, Spend, Standing, decide, limits_of, since_best, too_small
from training.search.limits.ledger import Totals
from training.search_config import SearchConfig


def search(price: float | None = None, trials: int = 100, **budget: Any) -> SearchConfig:
    return SearchConfig.model_validate(
        {"space": {"train.peak_lr": {"log": [1e-4, 1e-1]}}, "budget": budget, "usd_per_device_hour": price,
         "trials": trials}
    )  # fmt: skip


def spent(wall_s: float = 0.0, device_s: float = 0.0, devices: float = 2.0, **more: Any) -> Standing:
    return Standing(Totals(wall_s=wall_s, device_s=device_s), devices, **more)


amounts = st.floats(0.1, 1e5)


@given(
    total=amounts, fraction=st.floats(0, 0.95), refit_s=st.floats(0, 1e4), used=st.floats(0, 1),
    devices=st.floats(0.1, 64), refit_devices=st.floats(0.1, 64), price=st.floats(0.01, 40),
    kind=st.sampled_from(["wall_s", "device_hours", "usd"]),
)  # fmt: skip
def test_who_works_until_the_deadline_leaves_the_reserve(
    total: float, fraction: float, refit_s: float, used: float, devices: float, refit_devices: float, kind: str,
    price: float,
) -> None:  # fmt: skip
    wanted = search(price, **{kind: total, "reserve_fraction": fraction})
    in_seconds = {"wall_s": 1.0, "device_hours": 3600.0, "usd": 3600.0 / price}[kind]
    before = used * total * in_seconds
    standing = spent(wall_s=before, device_s=before, devices=devices)
    refit = Refit(refit_s, refit_devices)
    decision = decide(wanted, standing, "max", refit)
    reserve = max(fraction * total * in_seconds, refit_s * (1 if kind == "wall_s" else refit_devices))
    reserve = min(reserve, total * in_seconds)
    if isinstance(decision, End):
        assert before >= (total * in_seconds - reserve) * (1 - 1e-9)
        return
    assert decision.seconds is not None
    assert decision.seconds > 0
    after = before + decision.seconds * (1 if kind == "wall_s" else devices)
    assert total * in_seconds - after == pytest.approx(reserve, rel=1e-6, abs=1e-12 * total * in_seconds)


def test_without_a_budget_slots_work_as_long_as_they_like() -> None:
    assert decide(search(), spent(wall_s=1e9, device_s=1e9), "max") == Spend(None)
    assert decide(search(device_hours=1.0), spent(devices=0.0), "max") == Spend(None), "no slot is up yet"


@pytest.mark.parametrize(
    ("budget", "standing", "reason"),
    [
        ({"wall_s": 600}, spent(wall_s=480),
         "the budget of 600 s is spent but for the reserve of 120 s for the final training"),
        ({"device_hours": 2}, spent(device_s=6000),
         "the budget of 2 device hours is spent but for the reserve of 0.4 device hours for the final training"),
        ({"usd": 5, "price": 3600.0}, spent(device_s=4.5),
         "the budget of 5.00 USD is spent but for the reserve of 1.00 USD for the final training"),
        ({"wall_s": 1200, "reserve_fraction": 0}, spent(wall_s=1201), "the budget of 1,200 s is spent"),
        ({"target": 0.97}, spent(best=0.97123), "a score of 0.9712 has reached the target of 0.9700"),
        ({"patience_trials": 20}, spent(num_since_best=20), "20 trials have ended without a better score"),
        ({"trials": 7, "wall_s": 1}, spent(wall_s=9, num_ended=7), "all 7 trials have ended"),
    ],
)  # fmt: skip
def test_it_ends_in_words(budget: dict[str, Any], standing: Standing, reason: str) -> None:
    assert decide(search(**budget), standing, "max") == End(reason)


def test_a_target_goes_by_the_mode() -> None:
    wanted = search(target=0.3)
    assert isinstance(decide(wanted, spent(best=0.31), "min"), Spend)
    assert isinstance(decide(wanted, spent(best=0.3), "min"), End)
    assert isinstance(decide(wanted, spent(best=0.31), "max"), End)
    assert isinstance(decide(wanted, spent(best=None), "max"), Spend)


def test_the_tightest_limit_sets_the_deadline() -> None:
    wanted = search(1.0, wall_s=1000, device_hours=1, usd=10, reserve_fraction=0.1)
    assert decide(wanted, spent(wall_s=100, device_s=1000, devices=4.0), "max") == Spend((3240 - 1000) / 4)
    assert decide(wanted, spent(wall_s=850, device_s=1000, devices=4.0), "max") == Spend(50)


def test_a_refit_that_takes_more_than_the_share_is_kept_back() -> None:
    (limit,) = limits_of(search(wall_s=600), spent(), Refit(seconds=200.0))
    assert limit.reserve == 200
    (limit,) = limits_of(search(device_hours=1), spent(), Refit(seconds=600.0, num_devices=4))
    assert limit.reserve == 2400
    assert isinstance(decide(search(wall_s=100), spent(), "max", Refit(seconds=500.0)), End)


@given(
    total=amounts, fraction=st.floats(0, 0.9), trial_s=amounts, refit_s=st.floats(0, 1e4), before=st.floats(0, 1e4),
    kind=st.sampled_from(["wall_s", "device_hours", "usd"]),
)  # fmt: skip
def test_the_number_that_would_do_does(
    total: float, fraction: float, trial_s: float, refit_s: float, before: float, kind: str
) -> None:
    def told(amount: float) -> str | None:
        wanted = search(2.5, **{kind: amount, "reserve_fraction": fraction})
        return too_small(wanted, spent(before, before), trial_s, 2.0, Refit(refit_s, 3.0))

    sentence = told(total)
    if sentence is not None:
        would_do = float(sentence.rsplit("; ", 1)[1].split()[0])
        assert would_do > total * (1 - 1e-6)
        assert told(would_do) is None


def test_a_budget_smaller_than_a_trial_is_said_plainly() -> None:
    assert too_small(search(wall_s=60), spent(), 90.0, 1.0) == (
        "search.budget.wall_s is too small for a trial: of 60 s, 12 s are kept for the final training, and one trial "
        "takes about 90 s; 120 would do"
    )
    assert too_small(search(wall_s=60), spent(), 40.0, 1.0) is None
    assert str(too_small(search(wall_s=60), spent(), 40.0, 1.0, start_s=12.0)).endswith(
        "one trial takes about 40 s after 12 s in which its slot starts; 65 would do"
    )
    assert "of 0.001 USD, 0.0002 USD are kept" in str(too_small(search(2.0, usd=0.001), spent(), 90.0, 1.0))
    assert too_small(search(), spent(), 1e9, 1.0) is None
    told = too_small(search(2.0, usd=1.0), spent(device_s=900.0), 1800.0, 1.0)
    assert told == (
        "search.budget.usd is too small for a trial: of 1.00 USD, 0.20 USD are kept for the final training and 0.50 "
        "USD are spent, and one trial takes about 1.00 USD; 1.9 would do"
    )


def test_patience_counts_trials_that_brought_nothing() -> None:
    assert since_best([], ["max"]) == 0
    assert since_best([(0.5,), None, (0.4,), (0.5,), (math.nan,)], ["max"]) == 4
    assert since_best([(0.5,), None, (0.6,), None], ["max"]) == 1
    assert since_best([(0.5,), (0.4,)], ["min"]) == 0
    assert since_best([None, None], ["max"]) == 2


def test_of_several_objectives_something_new_on_the_front_counts() -> None:
    modes = ["max", "min"]
    assert since_best([(0.9, 5.0), (0.8, 1.0)], modes) == 0  # type: ignore[arg-type]
    assert since_best([(0.9, 5.0), (0.8, 6.0), (0.9, 5.0)], modes) == 2  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=30))
def test_patience_is_the_distance_from_the_first_of_the_best(scores: list[int | None]) -> None:
    known = [score for score in scores if score is not None]
    expected = len(scores) - 1 - scores.index(max(known)) if known else len(scores)
    assert since_best([None if score is None else (float(score),) for score in scores], ["max"]) == expected
