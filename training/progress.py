"""The port through which long work says how far it is. `cluster.console` prints it; tests collect it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

TrialState = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class TrialDone:
    """One finished trial of a search."""

    trial: str
    state: TrialState
    params: Mapping[str, Any]
    score: float | None
    epochs: int
    seconds: float
    cause: str | None = None


class Progress(Protocol):
    """Told what happens; never asked anything."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage of the run begins."""

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """An epoch of the final training ended. `epoch` counts from 1."""

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """A trial of the search ended."""

    def step(self, done: float, total: float, text: str) -> None:
        """A piece of a stage ended; `done` of `total` in whatever unit says best how much is left."""

    def note(self, text: str) -> None:
        """Something a person should know."""


class Silent:
    """Says nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Nothing."""

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Nothing."""

    def step(self, done: float, total: float, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
