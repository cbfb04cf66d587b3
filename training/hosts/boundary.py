"""What to do at a step's end: the same on every rank, decided in microseconds."""

import math
import time
from collections.abc import Callable
from typing import Protocol

from training.hosts.notices import Notices
from training.session import Order, Place

MAX_COST_FRACTION = 0.005  # of the time between boundaries, for asking each other
MAX_SILENCE_S = 0.5  # between two times that ranks ask each other, where boundaries are shorter than that


class Exchange(Protocol):
    """Ranks asking each other."""

    def __call__(self, order: int, every: int) -> tuple[int, int]:
        """The largest of each number over all ranks."""


class Boundary:
    """Orders of one rank, or of several that agree.

    Every rank asks equally often, so counting boundaries is enough to ask each other at the same ones. How many lie
    between is rank 0's choice, which travels along, so that all of them count alike.
    """

    def __init__(
        self, notices: Notices, is_due: Callable[[], bool], exchange: Exchange | None = None, *, rank: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self._notices, self._is_due, self._exchange, self._rank = notices, is_due, exchange, rank
        self._clock = clock
        self._paces = {False: Pace(), True: Pace()}  # by whether it is an evaluation, whose batches take another time
        self._place: Place | None = None
        self._evaluates = False
        self._left = 0
        self._asked_at = math.nan

    def ask(self, place: Place) -> Order:
        """The order for this boundary. Raises what the exchange raises when a peer is gone."""
        mine = self._mine()
        if self._exchange is None:
            return mine
        evaluates = place == self._place  # no step was made since: every rank sees it so
        changed = evaluates != self._evaluates
        self._place, self._evaluates = place, evaluates
        self._left -= 1
        if self._left > 0 and not changed:
            return Order.GO_ON
        return self._agree(mine, self._paces[evaluates], measurable=not changed)

    def _mine(self) -> Order:
        if self._notices.is_raised:
            return Order.LEAVE
        return Order.SAVE if self._rank == 0 and self._is_due() else Order.GO_ON

    def _agree(self, mine: Order, pace: "Pace", *, measurable: bool) -> Order:
        assert self._exchange is not None
        began = self._clock()
        if measurable:
            pace.passed(began - self._asked_at)
        order, every = self._exchange(int(mine), pace.proposal() if self._rank == 0 else 0)
        self._asked_at = self._clock()
        pace.cost(self._asked_at - began)
        self._left = pace.every = max(every, 1)
        return Order(order)


class Pace:
    """How many boundaries may lie between two exchanges."""

    def __init__(self) -> None:
        self.every = 1
        self._cost_s = math.nan
        self._boundary_s = math.nan

    def passed(self, seconds: float) -> None:
        """The last `every` boundaries took so long, the exchange left out."""
        if seconds >= 0:
            self._boundary_s = seconds / self.every

    def cost(self, seconds: float) -> None:
        """An exchange took so long. Slower peers are waited for in it, which costs nothing that the next gradient
        exchange would not have cost: so the least is remembered, and slowly forgotten."""
        self._cost_s = seconds if math.isnan(self._cost_s) else min(seconds, self._cost_s * 1.1)

    def proposal(self) -> int:
        """As few as the cost allows, at most twice as many as now, and never too long apart."""
        if math.isnan(self._boundary_s) or math.isnan(self._cost_s):
            return self.every
        boundary_s = max(self._boundary_s, 1e-6)
        cheap = math.ceil(self._cost_s / (MAX_COST_FRACTION * boundary_s))
        return max(1, min(cheap, int(MAX_SILENCE_S / boundary_s), 2 * self.every))
