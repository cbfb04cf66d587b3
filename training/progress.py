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


@dataclass(frozen=True)
class Live:
    """How a training goes right now. What is not known is None."""

    epoch: int  # at hand, from 1
    num_epochs: int
    step: int  # optimizer steps made in all
    num_steps: int  # of all epochs
    samples_per_s: float  # all workers together
    wait_fraction: float  # of the time, spent waiting for batches: the mean over workers
    num_workers: int
    loss: float | None = None  # of a recent step
    score: tuple[str, float] | None = None  # the deciding one, after the last epoch
    best: float | None = None  # the best of it so far; who shows it keeps count where this is None
    lr: float | None = None  # of the last step
    memory_mb: float | None = None  # of the largest worker process
    gpu_memory_mb: float | None = None  # of the fullest GPU
    flops_per_s: float | None = None  # all workers together
    mfu: float | None = None  # share of the GPUs' matrix peak, where that is known
    phase: str = "train"  # or evaluate, compile, save, wait for machines


class Progress(Protocol):
    """Told what happens; never asked anything."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage of the run begins."""

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """An epoch of the final training ended. `epoch` counts from 1."""

    def live(self, live: Live) -> None:
        """How the final training goes, about once a second."""

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """A trial of the search ended."""

    def step(self, done: float, total: float, text: str) -> None:
        """A piece of a stage ended; `done` of `total` in whatever unit says best how much is left."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Something of the run's journal that a person should know; `event_text.event_text` has the words."""

    def note(self, text: str) -> None:
        """Something a person should know."""


class Silent:
    """Says nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Nothing."""

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def live(self, live: Live) -> None:
        """Nothing."""

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Nothing."""

    def step(self, done: float, total: float, text: str) -> None:
        """Nothing."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class HandedOn:
    """Tells another `Progress` all of it; a subclass says what it does besides, or keeps to itself."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, name: str, detail: str = "") -> None:
        """Handed on."""
        self._progress.stage(name, detail)

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """Handed on."""
        self._progress.epoch(epoch, num_epochs, metrics)

    def live(self, live: Live) -> None:
        """Handed on."""
        self._progress.live(live)

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Handed on."""
        self._progress.trial(done, num_done, num_trials, best_score)

    def step(self, done: float, total: float, text: str) -> None:
        """Handed on."""
        self._progress.step(done, total, text)

    def event(self, event: Mapping[str, Any]) -> None:
        """Handed on."""
        self._progress.event(event)

    def note(self, text: str) -> None:
        """Handed on."""
        self._progress.note(text)
