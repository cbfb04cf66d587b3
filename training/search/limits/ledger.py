"""Where the time and the money of a search went: slots and trials in, totals out. Time comes as an argument."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

SECONDS = 3600.0


@dataclass(frozen=True)
class Totals:
    """Of all executions together. All but `wall_s` are seconds of devices: GPUs where slots take some, else CPUs."""

    wall_s: float = 0.0  # by the clock, while a driver ran
    device_s: float = 0.0  # that slots held
    useful_s: float = 0.0  # training that counts
    startup_s: float = 0.0  # before a trial's first step
    waiting_s: float = 0.0  # slots without a trial, or waiting for a verdict
    recomputed_s: float = 0.0  # work that was lost and done again

    def __add__(self, other: Self) -> "Totals":
        return Totals(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Totals)))

    def at_least(self, other: "Totals") -> "Totals":
        """The larger of each: two records of the same thing, of which each may be a little behind."""
        return Totals(*(max(getattr(self, field.name), getattr(other, field.name)) for field in fields(Totals)))

    @property
    def other_s(self) -> float:
        """What no report accounts for: slots that were coming up, died, or had not yet told."""
        return max(0.0, self.device_s - self.useful_s - self.startup_s - self.waiting_s - self.recomputed_s)

    def usd(self, usd_per_device_hour: float | None) -> float | None:
        """Money; None without a price."""
        return None if usd_per_device_hour is None else self.device_s / SECONDS * usd_per_device_hour

    def fields(self, usd_per_device_hour: float | None) -> dict[str, float | None]:
        """For the journal and trials/live.json."""
        usd = self.usd(usd_per_device_hour)
        rounded = {field.name: round(getattr(self, field.name), 3) for field in fields(self)}
        return rounded | {"usd": None if usd is None else round(usd, 6)}

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Totals":
        """From what `fields` gave; what an older writer did not know is 0."""
        stored = stored or {}
        return cls(**{field.name: float(stored.get(field.name) or 0.0) for field in fields(cls)})


@dataclass(frozen=True)
class Held:
    """A slot that holds its devices."""

    num_devices: float
    since: float


class Ledger:
    """One execution's books, begun with what earlier ones spent."""

    def __init__(self, before: Totals, began: float) -> None:
        """`began`: by the same clock as every `now`."""
        self._sum, self._began = before, began
        self._held: dict[str, Held] = {}

    def slot_started(self, slot: str, num_devices: float, now: float) -> None:
        """A slot holds devices from here on; one that only lost its process still holds them."""
        self._held.setdefault(slot, Held(num_devices, now))

    def slot_ended(self, slot: str, now: float) -> None:
        """It gave them back."""
        held = self._held.pop(slot, None)
        if held is not None:
            self._sum += _device_time(held, now)

    def spent(
        self, num_devices: float, *, useful_s: float = 0.0, startup_s: float = 0.0, waiting_s: float = 0.0,
        recomputed_s: float = 0.0,
    ) -> None:  # fmt: skip
        """What a slot tells of its time, as often as it does: amounts add up.

        Lanes of a stacked model share its seconds out among them, so that the sum stays that of the slot. Work that is
        lost was told as useful once: tell it as `recomputed_s`, and as negative `useful_s`.
        """
        self._sum += Totals(
            useful_s=useful_s * num_devices, startup_s=startup_s * num_devices, waiting_s=waiting_s * num_devices,
            recomputed_s=recomputed_s * num_devices,
        )  # fmt: skip

    @property
    def devices_held(self) -> float:
        """What is held just now: how fast device time goes."""
        return sum(held.num_devices for held in self._held.values())

    def totals(self, now: float) -> Totals:
        """Up to this moment, open slots with it."""
        total = self._sum + Totals(wall_s=max(0.0, now - self._began))
        for held in self._held.values():
            total += _device_time(held, now)
        return total


def _device_time(held: Held, now: float) -> Totals:
    return Totals(device_s=max(0.0, now - held.since) * held.num_devices)


def devices_of(cpus: float, gpus: float) -> float:
    """Devices of a slot: its GPUs, or its CPUs where it takes none."""
    return gpus if gpus > 0 else cpus


def usd_of(seconds: float, num_devices: float, usd_per_device_hour: float | None) -> float | None:
    """What a trial costs, by all its seconds: of start, training, waiting and lost work; None without a price."""
    return None if usd_per_device_hour is None else seconds * num_devices / SECONDS * usd_per_device_hour


def totals_before(events: Iterable[Mapping[str, Any]], live: Mapping[str, Any] | None = None) -> Totals:
    """What all earlier executions of this search spent.

    Every record holds the sum of all executions so far, so the newest one counts. An execution that ends writes it in
    its `searched` event, or in a `ledger` event. One that was killed left it in trials/live.json a second before; where
    that is lost, what it surely held is taken from the times of its events.

    Args:
        events: of the run's journal, in the order written: search, trial, ledger, searched.
        live: what trials/live.json holds, if it is there.
    """
    known, since = Totals(), Totals()
    began, num_devices = None, 0.0
    for event in events:
        kind, time = event.get("event"), float(event.get("time") or 0.0)
        if kind in ("ledger", "searched") and event.get("ledger"):
            known, since, began = Totals.of(event["ledger"]), Totals(), time if kind == "ledger" else None
        elif kind == "search":
            known, since, began = known + since, Totals(), time
            per_slot = devices_of(float(event.get("cpus_per_slot") or 1.0), float(event.get("gpus_per_slot") or 0.0))
            num_devices = per_slot * float(event.get("num_slots") or 1)
        elif kind == "trial" and began is not None:
            wall_s = max(since.wall_s, time - began)
            useful_s = since.useful_s + float(event.get("seconds") or 0.0)
            since = Totals(wall_s=wall_s, device_s=wall_s * num_devices, useful_s=useful_s)
    return (known + since).at_least(Totals.of((live or {}).get("ledger")))


def ledger_text(totals: Totals, usd_per_device_hour: float | None, device: str) -> str:
    """For a person: `3.20 GPU hours (useful 71 %, start-up 9 %, waiting 12 %, done again 1 %, other 7 %), 6.40 USD`."""
    hours = totals.device_s / SECONDS
    amount = f"{hours:.2f} {device} hours" if hours >= 1 else f"{totals.device_s:,.0f} {device} seconds"
    parts = {
        "useful": totals.useful_s, "start-up": totals.startup_s, "waiting": totals.waiting_s,
        "done again": totals.recomputed_s, "other": totals.other_s,
    }  # fmt: skip
    held = max(totals.device_s, sum(parts.values()))
    shares = ", ".join(f"{name} {part / held:.0%}" for name, part in parts.items()) if held > 0 else "nothing held"
    usd = totals.usd(usd_per_device_hour)
    return f"{amount} ({shares})" + ("" if usd is None else f", {usd:,.2f} USD")
