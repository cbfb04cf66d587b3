"""The driver's side: what workers told, into the run's journal and before the person's eyes."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.hosts.monitor import Report
from training.hosts.pulse import Scale, live_of
from training.journal import Journal
from training.metric_names import METRIC_MODES
from training.progress import Live, Progress

ERRORS_FILE = "errors.log"
NO_SCORES = ("seconds", "epoch")


class Recorder:
    """One training's. Epochs that the journal holds already are not written again."""

    def __init__(
        self, journal: Journal, folder: Path, progress: Progress, *, name: str, metric: str, scale: Scale,
    ) -> None:  # fmt: skip
        self._journal, self._progress = journal, progress
        self.errors_log = folder / ERRORS_FILE
        self._name, self._metric, self._scale = name, metric, scale
        self._lock = threading.Lock()
        self._known = {event["epoch"]: _comparable(event["metrics"]) for event in journal.events("epoch")
                       if event.get("training", name) == name}  # fmt: skip
        self._score: tuple[str, float] | None = None
        self._latest: Live | None = None

    def take(self, report: Report) -> None:
        """Write and show what is new. Raises OSError when the journal cannot be written."""
        with self._lock:
            if report.pulses:
                self._latest = live_of(report.pulses, self._scale, self._score, self._best)
            for kind, facts in report.records:
                self._take_one(kind, facts)
            if self._latest is not None and report.pulses and report.is_running:
                self._progress.live(replace(self._latest, score=self._score, best=self._best))

    def history(self, history: list[dict[str, float]]) -> None:
        """Epochs that a checkpoint knows: none is lost when the driver that heard of it was."""
        with self._lock:
            for metrics in history:
                self._epoch(metrics)

    def _take_one(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "epoch":
            self._epoch(facts)
        elif kind == "restored":
            for metrics in facts["history"]:
                self._epoch(metrics)
        elif kind == "trace":
            self.trace(facts["what"], facts["trace"])
        else:
            self._event(kind, facts)

    def _epoch(self, metrics: Mapping[str, float]) -> None:
        epoch, seconds = int(metrics["epoch"]), metrics["seconds"]
        scores = {name: value for name, value in metrics.items() if name not in NO_SCORES}
        self._score = (f"validation/{self._metric}", scores.get(f"validation/{self._metric}", math.nan))
        before, self._known[epoch] = self._known.get(epoch), _comparable(scores)
        if before == self._known[epoch]:
            return  # made again after a loss, with the same outcome
        self._known = {number: known for number, known in self._known.items() if number <= epoch}  # the rest is void
        self._journal.append(
            "epoch", epoch=epoch, metrics=scores, seconds=seconds, training=self._name,
            samples_per_s=self._scale.num_samples / seconds if seconds else None, **self._circumstances(),
        )  # fmt: skip
        first = {name: scores[name] for name in ("train/loss", f"validation/{self._metric}") if name in scores}
        self._progress.epoch(epoch, self._scale.num_epochs, first | scores)  # the first two are shown

    def _circumstances(self) -> dict[str, Any]:
        """How it went lately. Not of the scores, which are the same whatever happens."""
        live = self._latest
        return {} if live is None else {
            "workers": live.num_workers, "wait_fraction": live.wait_fraction, "lr": live.lr
        }  # fmt: skip

    @property
    def _best(self) -> float | None:
        """The deciding score's best so far, of all executions."""
        scores = [scores.get(f"validation/{self._metric}") for scores in self._known.values()]
        known = [score for score in scores if score is not None]
        return (max if METRIC_MODES[self._metric] == "max" else min)(known, default=None)

    def _event(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "hang":
            for rank, frames in facts["stacks"].items():
                self.trace(f"{facts['what']}; worker {rank} is in", "\n".join(frames))
            facts = {"what": facts["what"]}
        self._journal.append(kind, **facts)
        if "message" in facts:
            self._progress.note(str(facts["message"]))
        elif facts.get("goes_on", True):  # the error that ends it is told by itself
            self._progress.event({"event": kind, **facts})

    def trace(self, what: str, trace: str) -> None:
        """A full trace, where a person finds it."""
        with self.errors_log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}\n{trace.rstrip()}\n\n")


class Waiting:
    """Says that training waits for machines: soon, then ever more rarely, never not at all."""

    def __init__(self, told: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._told, self._clock = told, clock
        self._since: float | None = None
        self._next_s = FIRST_NOTE_S

    def look(self, missing: str) -> None:
        """To be called often, with what is there and what is needed; empty where it does not wait."""
        if not missing:
            self._since, self._next_s = None, FIRST_NOTE_S
            return
        self._since = self._since if self._since is not None else self._clock()
        waited_s = self._clock() - self._since
        if waited_s < self._next_s:
            return
        self._next_s = waited_s * 2 if waited_s < MAX_NOTE_EVERY_S else waited_s + MAX_NOTE_EVERY_S
        self._told(f"training waits for machines since {waited_s:.0f} s: {missing}")


FIRST_NOTE_S = 10.0
MAX_NOTE_EVERY_S = 600.0


def _comparable(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """As the journal writes them: it has null where a score is no finite number."""
    finite = {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}
    return {name: value for name, value in finite.items() if name not in (*NO_SCORES, "num_workers")}
