import pytest

from training.checkpoint.interval import Due, interval_s


def test_young() -> None:
    assert interval_s(2.0, 3600.0, 1e6) == pytest.approx(120.0)
    assert interval_s(0.02, 3600.0, 300.0) == pytest.approx(12.0)


def test_bounds() -> None:
    assert interval_s(100.0, 36000.0, 300.0) == 300.0
    assert interval_s(0.0, 3600.0, 300.0) == 1.0
    assert interval_s(0.0, 3600.0, 0.25) == 0.25
    assert interval_s(1.0, 3600.0, 300.0, min_interval_s=100.0) == 100.0


@pytest.mark.parametrize("cost_s", [-1.0, float("nan")])
def test_no_time(cost_s: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        interval_s(cost_s, 3600.0, 300.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_comes_early_and_the_rest_by_cost() -> None:
    clock = Clock()
    due = Due(3600.0, 300.0, clock=clock)
    clock.now_s += 4.9
    assert not due.is_due()
    clock.now_s += 0.1
    assert due.is_due()
    due.saved(None)  # it is being written: what it costs is not known yet
    clock.now_s += 5.0
    assert due.is_due()
    due.saved(2.0)
    assert due.interval_s == pytest.approx(120.0)
    clock.now_s += 119.0
    assert not due.is_due()
    clock.now_s += 1.1
    assert due.is_due()


def test_a_short_upper_bound_holds_for_the_first_too() -> None:
    clock = Clock()
    due = Due(3600.0, 0.5, clock=clock)
    clock.now_s += 0.5
    assert due.is_due()
