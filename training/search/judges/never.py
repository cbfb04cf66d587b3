"""No judge at all: every trial trains to its end."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.search.judges.verdicts import GoOn, Verdict


class NeverStops:
    """Everybody goes on."""

    levels: tuple[int, ...] = ()

    def __init__(self, last_level: int) -> None:
        self._last_level = last_level

    def next_level(self, trial: str, level: int) -> int:
        """The end."""
        return self._last_level

    def meet(self, trial: str, params: Mapping[str, Any]) -> None:
        """Nothing to know."""

    def hear(self, trial: str, level: int, values: Sequence[float], parts: Sequence[float] = ()) -> Verdict:
        """Go on."""
        return GoOn()

    def recall(
        self, trial: str, level: int, values: Sequence[float | None], parts: Sequence[float | None] = ()
    ) -> None:
        """Nothing to remember."""

    def leave(self, trial: str) -> None:
        """Nothing to do."""

    def forget(self, trial: str) -> None:
        """Nothing to forget."""
