"""What can be seen of a run from outside, while it goes on: its folder, read by a thread."""

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.drill.outcome import Reading, Start
from training.checkpoint.manifest import MANIFEST_FILE, parse_manifest
from training.journal import Event, Journal

LOOK_EVERY_S = 0.1
LIVE_FILE = "live.json"  # in the run's folder, by the driver
BEGAN = ("first_step", "resumed")  # workers train, with so many steps behind them
LOST = ("preempted", "worker_lost", "worker_failed")  # a group of workers ended, after so many steps


@dataclass(frozen=True)
class SeenCheckpoint:
    """A checkpoint that was whole when we looked."""

    time: float  # when it was first seen
    step: int
    num_bytes: int  # of its own files; the best weights, which several share, left out


@dataclass
class Watch:
    """A run as it goes. `events` is read fresh; the rest is collected by the thread, since files are replaced."""

    folder: Path
    readings: list[Reading] = field(default_factory=list)
    checkpoints: dict[str, SeenCheckpoint] = field(default_factory=dict)  # by the folder's name
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start looking."""
        self._thread = threading.Thread(target=self._look, name="drill-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking, after a last look."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._look_once()

    @property
    def step(self) -> int:
        """Optimizer steps, by the newest sign of life; it goes back where a run goes back."""
        return self.readings[-1].step if self.readings else 0

    @property
    def events(self) -> list[Event]:
        """The run's journal."""
        return list(Journal(self.folder / "journal.jsonl").events())

    def _look(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._look_once()

    def _look_once(self) -> None:
        live = _json(self.folder / LIVE_FILE)
        if live and live.get("phase") != "start":
            reading = Reading(float(live["time"]), int(live["step"]))
            if not self.readings or reading.time > self.readings[-1].time:
                self.readings.append(reading)
        # One training a run: a drill has neither trials nor folds.
        for manifest in (self.folder / "checkpoints").glob(f"*/*/{MANIFEST_FILE}"):
            if manifest.parent.name not in self.checkpoints:
                self._note(manifest)

    def _note(self, path: Path) -> None:
        try:
            manifest = parse_manifest(path.read_bytes())
        except OSError:
            return  # deleted while we looked
        if manifest is not None:
            num_bytes = sum(file.num_bytes for file in manifest.files)
            self.checkpoints[path.parent.name] = SeenCheckpoint(time.time(), manifest.step, num_bytes)


def all_readings(live: Iterable[Reading], events: Iterable[Event]) -> tuple[Reading, ...]:
    """With the exact steps that the journal tells: where a group of workers ended, and where one resumed."""
    told = [
        Reading(event["time"], int(event["step"])) for event in events if event["event"] in LOST and "step" in event
    ]
    return tuple(sorted([*live, *told], key=lambda reading: reading.time))


def starts_of(
    events: Sequence[Event], readings: Sequence[Reading], driver_starts: Sequence[float]
) -> tuple[Start, ...]:
    """Each time that workers began to train, with the step that they began at.

    The journal tells it, unless the driver died before it wrote that down: one that is followed by steps, and not by
    the journal's word before the next driver, began with nothing.
    """
    told = [
        Start(event["time"], int(event["step"]), int(event.get("workers", 0)))
        for event in events
        if event["event"] in BEGAN
    ]
    fresh = []
    for number, began in enumerate(driver_starts):
        until = driver_starts[number + 1] if number + 1 < len(driver_starts) else float("inf")
        first = next((reading for reading in readings if began < reading.time < until), None)
        if first is not None and not any(began < start.time < until for start in told):
            fresh.append(Start(first.time - 1e-3, 0, 0))
    return tuple(sorted([*told, *fresh], key=lambda start: start.time))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # not there yet, or being written
    return found if isinstance(found, dict) else {}
