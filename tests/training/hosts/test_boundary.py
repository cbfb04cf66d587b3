"""Orders at boundaries: one rank, several that agree, and how often they ask each other."""

import threading
import time

import pytest

from training.hosts.boundary import MAX_SILENCE_S, Boundary, Exchange
from training.hosts.notices import Notices
from training.session import Order, Place


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Ranks:
    """Several boundaries in step, whose exchange takes a given time on the clock."""

    def __init__(self, size: int, exchange_s: float) -> None:
        self.clock, self.exchange_s, self.num_exchanges = Clock(), exchange_s, 0
        self.notices = [Notices() for _ in range(size)]
        self.due = False
        self.barrier = threading.Barrier(size, action=self._agree)
        self.sent = [(0, 0)] * size
        self.answer = (0, 0)
        self.boundaries = [
            Boundary(self.notices[rank], lambda: self.due, self._exchange_of(rank), rank=rank, clock=self.clock)
            for rank in range(size)
        ]

    def _agree(self) -> None:
        self.num_exchanges += 1
        self.clock.now += self.exchange_s
        self.answer = (max(order for order, _ in self.sent), max(every for _, every in self.sent))

    def _exchange_of(self, rank: int) -> Exchange:
        def exchange(order: int, every: int) -> tuple[int, int]:
            self.sent[rank] = (order, every)
            self.barrier.wait(timeout=10)
            return self.answer

        return exchange

    def ask(self, place: Place, step_s: float) -> list[Order]:
        """What each rank is told at a boundary that comes `step_s` after the one before."""
        self.clock.now += step_s
        orders = [Order.GO_ON] * len(self.boundaries)

        def one(rank: int) -> None:
            orders[rank] = self.boundaries[rank].ask(place)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(orders))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        return orders


def test_one_rank_is_told_within_microseconds() -> None:
    notices = Notices()
    due = [False]
    boundary = Boundary(notices, lambda: due[0])
    began = time.perf_counter()
    assert all(boundary.ask(Place(0, step, step)) == Order.GO_ON for step in range(10_000))
    assert (time.perf_counter() - began) / 10_000 < 20e-6
    due[0] = True
    assert boundary.ask(Place(0, 1, 1)) == Order.SAVE
    notices.leave("drain")
    assert boundary.ask(Place(0, 1, 1)) == Order.LEAVE


def test_a_notice_of_any_rank_reaches_all_at_the_same_boundary() -> None:
    ranks = Ranks(3, exchange_s=0.0002)
    told: list[list[Order]] = []
    for step in range(600):
        if step == 200:
            ranks.notices[2].leave("drain")
        told.append(ranks.ask(Place(0, step, step), 0.002))
        if told[-1][0] == Order.LEAVE:
            break
    assert all(len(set(orders)) == 1 for orders in told)
    assert told[-1] == [Order.LEAVE] * 3
    assert (len(told) - 200) * 0.002 <= MAX_SILENCE_S


def test_only_rank_0_says_when_to_save() -> None:
    ranks = Ranks(2, exchange_s=0.0001)
    ranks.due = True
    assert ranks.ask(Place(0, 1, 1), 1.0) == [Order.SAVE] * 2


@pytest.mark.parametrize("step_s", [0.0005, 0.005, 0.05, 3.0])
def test_asking_costs_little_and_is_never_long_apart(step_s: float) -> None:
    ranks = Ranks(2, exchange_s=0.0003)
    for step in range(200):
        ranks.ask(Place(0, step, step), step_s)
    settled_at, exchanges, steps = ranks.clock.now, ranks.num_exchanges, 400
    for step in range(200, 200 + steps):
        ranks.ask(Place(0, step, step), step_s)
    num = ranks.num_exchanges - exchanges
    assert num * 0.0003 / (ranks.clock.now - settled_at) < 0.007  # of the time, and a little for counting from inside
    assert num >= min(steps, steps * step_s / MAX_SILENCE_S) * 0.9
    if step_s > MAX_SILENCE_S:
        assert num == steps


def test_an_evaluation_after_fast_steps_is_asked_at_once() -> None:
    """Its batches may take a thousand times as long as a step."""
    ranks = Ranks(2, exchange_s=0.0003)
    for step in range(300):
        ranks.ask(Place(0, step, step), 0.0005)
    ranks.notices[0].leave("drain")
    assert Order.LEAVE in ranks.ask(Place(0, 299, 299), 0.4)  # no step since: a batch of an evaluation
