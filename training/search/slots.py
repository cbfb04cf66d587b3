"""The slots that live, as their driver knows them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from training.search.messages import Told


@dataclass
class SlotState:
    """A slot that lives, or waits for room."""

    name: str
    handle: Any = None
    incarnation: str = ""  # of its process, once that has introduced itself
    node: str = ""
    trials: set[str] = field(default_factory=set)
    since: float = field(default_factory=time.time)  # when Ray was asked for its process

    def introduced(self, told: Told) -> Told:
        """Its process begins. How old that is says little where Ray kept it idle before."""
        self.handle, self.incarnation, self.node = told.handle, told.incarnation, told.node
        return replace(told, startup_s=min(told.startup_s, max(0.0, time.time() - self.since)))

    def lost(self) -> None:
        """Its process died, and another one is asked for."""
        self.incarnation, self.since = "", time.time()


class Slots:
    """By Tune's ids of them."""

    def __init__(self, most: int, capacity: Callable[[], int]) -> None:
        """
        Args:
            most: at a time.
            capacity: that there is room for.
        """
        self._most, self._capacity = most, capacity
        self._slots: dict[str, SlotState] = {}
        self._num_named = 0

    def __getitem__(self, key: str) -> SlotState:
        return self._slots[key]

    def get(self, key: str) -> SlotState | None:
        """The slot; None where it has ended."""
        return self._slots.get(key)

    @property
    def are_idle(self) -> bool:
        """Whether none has a trial."""
        return not any(slot.trials for slot in self._slots.values())

    def new(self, key: str) -> str | None:
        """The name of another slot, where there is room for one."""
        # One that waits for room would start up when the others end, and be waited for.
        if len(self._slots) >= min(self._most, max(1, self._capacity())):
            return None
        self._slots[key] = SlotState(f"slot-{self._num_named}")
        self._num_named += 1
        return self._slots[key].name

    def pop(self, key: str) -> SlotState | None:
        """It has ended."""
        return self._slots.pop(key, None)

    def forget_trial(self, trial: str) -> None:
        """No slot has it any more."""
        for slot in self._slots.values():
            slot.trials.discard(trial)
