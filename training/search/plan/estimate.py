"""From measured corners to an interval of time and money for the whole search."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.config import Experiment
from training.search.plan.cost import Cost
from training.search.plan.expected import Share
from training.search.slot.stackable import Stackable

# Seconds before the first trial's first step: Ray, a process for each slot, torch in it. Seen on two cores.
START_S = (6.0, 12.0, 30.0)
# What a trial takes longer beside others on a machine, of which none ran while it was measured.
CROWDED = (1.0, 1.15, 1.5)


@dataclass(frozen=True)
class Interval:
    """What is likely, and what it could be."""

    low: float
    usual: float
    high: float

    def times(self, factor: float) -> "Interval":
        """In another unit."""
        return Interval(self.low * factor, self.usual * factor, self.high * factor)


@dataclass(frozen=True)
class Estimate:
    """Of the trials that are still to run."""

    trial_s: Interval  # one that trains to its end
    wall_s: Interval
    device_hours: Interval
    usd: Interval | None  # None where no price is given


def estimated(
    experiment: Experiment, costs: Sequence[Cost], share: Share, num_trials: int, num_slots: int, devices: float,
    fused: Stackable,
) -> Estimate:  # fmt: skip
    """Low: all trials are as cheap as the cheapest corner, high: as dear as the dearest.

    Args:
        experiment: that searches.
        costs: of the corners, at least one.
        share: of all levels that will be trained.
        num_trials: that are still to run.
        num_slots: that work.
        devices: of a slot, that are paid for.
        fused: what stacking them brings.
    """
    search = experiment.search
    assert search is not None
    epochs, replicates = experiment.train.epochs, search.replicates
    full = _over(costs, lambda cost: replicates * (cost.setup_s + epochs * cost.epoch_s))
    setup = _over(costs, lambda cost: cost.setup_s)
    low, usual, high = (
        num_trials * (part * whole + (begin * (1 - part) if replicates == 1 else 0.0))
        for part, whole, begin in zip(share, full, setup, strict=True)
    )
    crowd = CROWDED if num_slots > 1 else (1.0, 1.0, 1.0)
    # The last trial may begin when the others end.
    tail = (0.0, 0.5 * full[1], full[2]) if num_trials > 1 else (0.0, 0.0, 0.0)
    work = [low / fused.most_gain, usual / fused.usual_gain, high]
    wall = [
        start + factor * (seconds / num_slots + more)
        for start, factor, seconds, more in zip(START_S, crowd, work, tail, strict=True)
    ] if num_trials else [0.0, 0.0, 0.0]  # fmt: skip
    wall_s = Interval(*wall)
    device_hours = wall_s.times(num_slots * devices / 3600)
    price = search.usd_per_device_hour
    return Estimate(Interval(*full), wall_s, device_hours, None if price is None else device_hours.times(price))


def _over(costs: Sequence[Cost], seconds: Callable[[Cost], float]) -> tuple[float, float, float]:
    """The least, what is between, and the most. Between: sizes are mostly drawn by their logarithm or from a list."""
    found = sorted(seconds(cost) for cost in costs)
    return found[0], math.exp(sum(math.log(max(each, 1e-9)) for each in found) / len(found)), found[-1]
