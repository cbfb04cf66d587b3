"""When the next checkpoint is due."""

import math
import time
from collections.abc import Callable

FIRST_S = 5.0  # the first one comes early: what a checkpoint costs is not known before


def interval_s(
    cost_s: float, mean_s_between_losses: float, max_interval_s: float, min_interval_s: float = 1.0
) -> float:
    """Seconds between checkpoints that lose least to saving and to repeating lost steps together.

    Args:
        cost_s: what one checkpoint takes from training.
        mean_s_between_losses: expected time between losses of a machine.
        max_interval_s: hard upper bound; it wins over the lower one.

    Raises:
        ValueError: a time is negative or no number.

    Source: sqrt(2 x cost x mean time between failures); Young, Communications of the ACM 17(9), 1974.
    """
    times = (cost_s, mean_s_between_losses, max_interval_s, min_interval_s)
    if not all(value >= 0 for value in times):
        raise ValueError(f"times must be numbers of at least 0, got {times}")
    return min(max(math.sqrt(2 * cost_s * mean_s_between_losses), min_interval_s), max_interval_s)


class Due:
    """Says when to save. It asks nobody but the clock, so a loop can ask it after every step."""

    def __init__(
        self, mean_s_between_losses: float, max_interval_s: float, *, first_s: float = FIRST_S,
        min_interval_s: float = 1.0, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._mean_s, self._max_s, self._min_s = mean_s_between_losses, max_interval_s, min_interval_s
        self._clock = clock
        self.interval_s = min(first_s, max_interval_s)
        self._due_at = clock() + self.interval_s

    def is_due(self) -> bool:
        """True once the interval has passed since the last save began."""
        return self._clock() >= self._due_at

    def saved(self, cost_s: float | None) -> None:
        """A save begins now.

        Args:
            cost_s: what one took so far, `Saver.cost_s`; None while none has been measured, so the next comes early.
        """
        if cost_s is not None:
            self.interval_s = interval_s(cost_s, self._mean_s, self._max_s, self._min_s)
        self._due_at = self._clock() + self.interval_s
