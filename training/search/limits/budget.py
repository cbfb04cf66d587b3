"""Whether a search may go on, and until when. It decides; the driver stops slots and takes the best trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from training.evaluation.words import number
from training.metric_names import Mode
from training.search.limits.ledger import SECONDS, Totals
from training.search_config import SearchConfig


@dataclass(frozen=True)
class Spend:
    """Go on. Slots may work so many seconds from now on; None: as long as they like."""

    seconds: float | None = None


@dataclass(frozen=True)
class End:
    """No further work for slots, and why."""

    reason: str


Decision = Spend | End


@dataclass(frozen=True)
class Refit:
    """What is expected to come after the search: the final training, compression and package."""

    seconds: float = 0.0
    num_devices: float = 1.0


@dataclass(frozen=True)
class Standing:
    """How a search stands, over all its executions."""

    totals: Totals = field(default_factory=Totals)
    devices_held: float = 0.0  # by all slots: how fast device time goes
    num_ended: int = 0
    best: float | None = None  # score of the best trial that was trained to its end
    num_since_best: int = 0  # trials that ended since the last one that was better than all before


@dataclass(frozen=True)
class Limit:
    """One thing that is limited, in seconds by the clock, seconds of devices, or money."""

    key: str
    total: float
    reserve: float  # kept for what comes after the search
    spent: float
    per_s: float  # spent in a second while all slots work

    @property
    def left(self) -> float:
        """What trials may still take."""
        return self.total - self.reserve - self.spent

    @property
    def left_s(self) -> float:
        """How long slots can go on so; infinite while they cost nothing."""
        return math.inf if self.per_s <= 0 else self.left / self.per_s

    def text(self, amount: float) -> str:
        """An amount of it in words."""
        match self.key:
            case "wall_s":
                return f"{amount:,.3g} s" if amount < 1000 else f"{amount:,.0f} s"
            case "device_hours":
                return f"{amount / SECONDS:,.3g} device hours"
        return f"{amount:,.2f} USD" if amount >= 0.01 or amount == 0 else f"{amount:.2g} USD"


def limits_of(search: SearchConfig, standing: Standing, refit: Refit = Refit()) -> tuple[Limit, ...]:
    """The limits that the budget sets.

    Each keeps a reserve: the share asked for, or what the refit is expected to take where that is more, and never more
    than there is.
    """
    budget, price = search.budget, (search.usd_per_device_hour or 0.0) / SECONDS
    devices = refit.seconds * refit.num_devices
    asked = (
        ("wall_s", budget.wall_s, refit.seconds, standing.totals.wall_s, 1.0),
        (
            "device_hours", None if budget.device_hours is None else budget.device_hours * SECONDS, devices,
            standing.totals.device_s, standing.devices_held,
        ),
        ("usd", budget.usd, devices * price, standing.totals.device_s * price, standing.devices_held * price),
    )  # fmt: skip
    return tuple(
        Limit(key, total, min(max(budget.reserve_fraction * total, expected), total), spent, per_s)
        for key, total, expected, spent, per_s in asked
        if total is not None
    )


def decide(search: SearchConfig, standing: Standing, mode: Mode, refit: Refit = Refit()) -> Decision:
    """Whether trials may go on. The order is that of how good the news is: all done, good enough, no better, spent."""
    budget = search.budget
    if standing.num_ended >= search.trials:
        return End(f"all {search.trials} trials have ended")
    if budget.target is not None and standing.best is not None and _reaches(standing.best, budget.target, mode):
        return End(f"a score of {number(standing.best)} has reached the target of {number(budget.target)}")
    if budget.patience_trials is not None and standing.num_since_best >= budget.patience_trials:
        return End(f"{standing.num_since_best} trials have ended without a better score")
    limits = limits_of(search, standing, refit)
    for limit in limits:
        if limit.left <= 0:
            return End(_is_spent(limit))
    seconds = min((limit.left_s for limit in limits), default=math.inf)
    return Spend(None if math.isinf(seconds) else seconds)


def _is_spent(limit: Limit) -> str:
    kept = f" but for the reserve of {limit.text(limit.reserve)} for the final training" if limit.reserve > 0 else ""
    return f"the budget of {limit.text(limit.total)} is spent{kept}"


def _reaches(score: float, target: float, mode: Mode) -> bool:
    return score >= target if mode == "max" else score <= target


def too_small(
    search: SearchConfig, standing: Standing, trial_s: float, devices_per_slot: float, refit: Refit = Refit(),
    start_s: float = 0.0,
) -> str | None:  # fmt: skip
    """A sentence where what is left does not do for one more trial, with a number that would; else None.

    Args:
        search: its settings.
        standing: what was spent.
        trial_s: seconds that one trial takes by itself, as far as is known.
        devices_per_slot: that it holds.
        refit: what comes after.
        start_s: seconds in which a slot starts before its first trial does.
    """
    price = (search.usd_per_device_hour or 0.0) / SECONDS
    needs = {"wall_s": 1.0, "device_hours": devices_per_slot, "usd": devices_per_slot * price}
    for limit in limits_of(search, standing, refit):
        trial, start = trial_s * needs[limit.key], start_s * needs[limit.key]
        need = trial + start
        if need <= limit.left or math.isclose(need, limit.left):
            continue
        expected = refit.seconds * (1.0 if limit.key == "wall_s" else refit.num_devices)
        expected *= price if limit.key == "usd" else 1.0
        would_do = max((limit.spent + need) / (1 - search.budget.reserve_fraction), limit.spent + need + expected)
        in_file = _rounded_up(would_do / (SECONDS if limit.key == "device_hours" else 1.0))
        spent = f" and {limit.text(limit.spent)} are spent" if limit.spent > 0 else ""
        after = f" after {limit.text(start)} in which its slot starts" if start > 0 else ""
        return (
            f"search.budget.{limit.key} is too small for a trial: of {limit.text(limit.total)}, "
            f"{limit.text(limit.reserve)} are kept for the final training{spent}, and one trial takes about "
            f"{limit.text(trial)}{after}; {in_file:g} would do"
        )
    return None


def _rounded_up(amount: float) -> float:
    """To two digits, so that it reads like something that a person would write."""
    unit = 10.0 ** (math.floor(math.log10(amount)) - 1) if amount > 0 else 1.0
    return float(f"{math.ceil(amount / unit - 1e-9) * unit:.6g}")


def since_best(values: Sequence[Sequence[float] | None], modes: Sequence[Mode]) -> int:
    """How many of the last trials brought nothing: no better score; of several objectives, nothing new on the front.

    Args:
        values: the objectives of each trial that ended, in the order in which they did; None for one that failed or was
            stopped.
        modes: of the objectives.
    """
    front: list[tuple[float, ...]] = []
    count = 0
    for each in values:
        count += 1
        if each is None or any(math.isnan(value) for value in each):
            continue
        losses = tuple(-value if mode == "max" else value for value, mode in zip(each, modes, strict=True))
        if not any(_is_no_worse(kept, losses) for kept in front):
            front = [kept for kept in front if not _is_no_worse(losses, kept)] + [losses]
            count = 0
    return count


def _is_no_worse(losses: tuple[float, ...], than: tuple[float, ...]) -> bool:
    return all(loss <= other for loss, other in zip(losses, than, strict=True))
