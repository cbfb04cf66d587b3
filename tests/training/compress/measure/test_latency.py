"""Times of calls: forms take turns, and what other programs took is left out of all of them, or of none."""

import time

import numpy as np
import pytest

from training.compress.measure import latency as room
from training.compress.measure.latency import first_rows, latency_of, measure_latency
from training.compress.measure.price import usd_per_million
from training.package.machine import this_machine

ROWS = {"numeric": np.zeros((3, 4), dtype=np.float32)}


def test_a_slower_form_takes_longer_at_every_batch_size() -> None:
    def quick(tensors: object) -> np.ndarray:
        return np.zeros(1)

    def slow(tensors: object) -> np.ndarray:
        time.sleep(0.002)
        return np.zeros(1)

    found = measure_latency({"quick": quick, "slow": slow}, ROWS, budget_s=0.02)
    for size in ("1", "8", "32"):
        assert found["slow"][size].p50_ms > 1.9 > found["quick"][size].p50_ms
        low, high = found["slow"][size].p50_range_ms or (0, 0)
        assert low <= found["slow"][size].p50_ms <= high


def turns(disturbed: float, seconds: float = 0.001) -> np.ndarray:
    """Seconds of 10 turns of 10 calls, a share of which took a pause of 4 ms more."""
    was = np.arange(100).reshape(10, 10) < 100 * disturbed
    return np.stack([seconds + 0.004 * was, was.astype(float)], axis=-1)


@pytest.mark.parametrize(("shares", "is_busy"), [((0.3, 0.3), False), ((0.3, 0.7), True)])
def test_pauses_are_left_out_of_all_forms_or_of_none(
    shares: tuple[float, float], is_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"a": turns(shares[0]), "b": turns(shares[1])}
    monkeypatch.setattr(room, "_turn", lambda call, _num_calls: found[call()].pop(0))
    found = {name: [[(s, int(w)) for s, w in turn] for turn in each.tolist()] for name, each in found.items()}
    monkeypatch.setattr(room, "_calls_per_turn", lambda _call: 10)
    monkeypatch.setattr(room, "MAX_TURNS", 10)
    seconds, busy = room._take_turns({"a": lambda: "a", "b": lambda: "b"}, 60.0)
    assert busy == is_busy
    for each in seconds.values():
        assert np.nanmax(each) == pytest.approx(0.005 if is_busy else 0.001)


def test_a_turn_without_a_single_undisturbed_call_does_not_count() -> None:
    found = latency_of(np.array([[0.001, 0.001], [np.nan, np.nan], [0.002, np.nan]]))
    assert found.p50_ms == pytest.approx(1.0)


def test_too_few_rows_are_taken_again_from_the_beginning() -> None:
    batch = first_rows({"numeric": np.arange(6, dtype=np.float32).reshape(3, 2)}, 5)
    assert batch["numeric"][:, 0].tolist() == [0, 2, 4, 0, 2]


def test_a_price_is_that_of_the_best_batch_on_all_cores() -> None:
    latency = {"1": latency_of(np.full((2, 2), 0.001)), "32": latency_of(np.full((2, 2), 0.016))}
    machine = this_machine().model_copy(update={"num_cores": 4})
    # Half a millisecond a row on each of two replicas of two threads: 14.4 million an hour.
    usd = usd_per_million(latency, machine, 2, 1.44, on_gpu=False)
    assert usd == pytest.approx(0.1)
    assert usd_per_million(latency, machine, 2, 1.44, on_gpu=True) == pytest.approx(0.2)
