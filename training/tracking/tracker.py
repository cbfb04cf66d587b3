"""Trackers beside a training: each is told in a thread of its own, so that none can slow it down or make it fail."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from training.config import Experiment
from training.event_text import event_text
from training.journal import Event
from training.progress import HandedOn, Live, Progress
from training.run_folder import RunFolder
from training.tracking.tensorboard import TensorBoardFiles

logger = logging.getLogger(__name__)
CLOSE_S = 10.0  # that the end of a training waits for a slow tracker
Outcome = Literal["finished", "failed", "killed"]


class Tracker(Protocol):
    """Told of one training, call after call in one thread. It may be slow, and may raise."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch ended, and stands in the journal."""

    def live(self, live: Live) -> None:
        """How it goes, about once a second."""

    def event(self, event: Event) -> None:
        """Something happened, and stands in the journal."""

    def close(self, outcome: Outcome) -> None:
        """The training ended, or this execution of it."""


class Background:
    """A tracker at work in its thread. What it raises is said once, and ends it.

    Args:
        name: for people.
        make: makes the tracker, in the thread: to load its libraries takes a moment.
        note: told what went wrong.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], note: Callable[[str], None]) -> None:
        self._name, self._make, self._note = name, make, note
        self._calls: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"track-{name}", daemon=True)
        self._thread.start()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Hand on, and return at once; so do the others."""
        kept = dict(metrics)
        self._calls.put(lambda tracker: tracker.epoch(epoch, kept))

    def live(self, live: Live) -> None:
        """See `epoch`."""
        self._calls.put(lambda tracker: tracker.live(live))

    def event(self, event: Event) -> None:
        """See `epoch`."""
        kept = dict(event)
        self._calls.put(lambda tracker: tracker.event(kept))

    def close(self, outcome: Outcome) -> None:
        """Wait until all is told, but not for ever: a server may hang."""
        self._calls.put(lambda tracker: tracker.close(outcome))
        self._calls.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._note(f"{self._name} took longer than {CLOSE_S:.0f} s to be told the end; it is not waited for")

    def _work(self) -> None:
        try:
            tracker = self._make()
            while (call := self._calls.get()) is not None:
                call(tracker)
        except Exception as error:  # of whatever kind: training must not fail for it
            logger.debug("%s failed", self._name, exc_info=True)
            self._note(f"{self._name} is told nothing any more: {type(error).__name__}: {error}")


class TrackedProgress(HandedOn):
    """A `Progress` that tells trackers as well."""

    def __init__(self, progress: Progress, trackers: list[Background]) -> None:
        super().__init__(progress)
        self._trackers = trackers

    def __reduce__(self) -> tuple[Callable[[Progress], Progress], tuple[Progress]]:
        """Ray pickles callbacks and what they hold; threads stay where they are."""
        return _alone, (self._progress,)

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """Shown and tracked."""
        super().epoch(epoch, num_epochs, metrics)
        for tracker in self._trackers:
            tracker.epoch(epoch, metrics)

    def live(self, live: Live) -> None:
        """Shown and tracked."""
        super().live(live)
        for tracker in self._trackers:
            tracker.live(live)

    def event(self, event: Mapping[str, Any]) -> None:
        """Shown and, where there are words for it, tracked."""
        super().event(event)
        if event_text(event):
            for tracker in self._trackers:
                tracker.event(dict(event))


def open_trackers(
    experiment: Experiment, run: RunFolder, training: str, note: Callable[[str], None]
) -> list[Background]:
    """What the experiment asks for, each at work already.

    Args:
        experiment: its `track` part decides.
        run: whose journal holds the epochs; that of an earlier execution are told as well.
        training: name of the training inside the run, as its epochs in the journal carry it.
        note: told of trouble, from another thread.
    """
    track, opened = experiment.track, []
    if track.tensorboard:
        opened.append(Background("TensorBoard", lambda: TensorBoardFiles(experiment, run, training), note))
    if (uri := track.mlflow) is not None:
        opened.append(Background("MLflow", lambda: _mlflow_run(uri, experiment, run, training, note), note))
    return opened


def _mlflow_run(
    uri: str, experiment: Experiment, run: RunFolder, training: str, note: Callable[[str], None]
) -> Tracker:
    from training.tracking.mlflow import MlflowRun  # noqa: PLC0415  # 0.5 s of `requests` in a tracker's thread

    return MlflowRun(uri, experiment, run, training, note)


@contextmanager
def tracking(experiment: Experiment, run: RunFolder, progress: Progress, training: str) -> Iterator[Progress]:
    """A progress whose training is tracked, for the length of a `with` block."""
    trackers = open_trackers(experiment, run, training, progress.note)
    outcome: Outcome = "killed"  # by a signal, unless it comes to another end
    try:
        yield TrackedProgress(progress, trackers) if trackers else progress
        outcome = "finished"
    except Exception:
        outcome = "failed"
        raise
    finally:
        for tracker in trackers:
            tracker.close(outcome)


def _alone(progress: Progress) -> Progress:
    return progress
