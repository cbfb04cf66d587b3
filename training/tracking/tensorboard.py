"""TensorBoard files of one training: `tensorboard/epochs` by epoch, `tensorboard/steps` by optimizer step.

Two folders, since TensorBoard has one axis a run, and forgets what lies beyond a restart by its number.
"""

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from training.config import Experiment
from training.event_text import event_text
from training.journal import Event
from training.progress import Live
from training.redact import without_secrets
from training.run_folder import RunFolder
from training.run_record import standing

FOLDER = "tensorboard"
FLUSH_S = 5.0
PREFIX = "events"  # tensorboardX adds .out.tfevents., by which TensorBoard finds the files
LIVE_TAGS = ("loss", "lr", "samples_per_s", "wait_fraction", "memory_mb", "gpu_memory_mb", "mfu")


class TensorBoardFiles:
    """Epochs are written anew from the journal at each execution; steps go on in a new file."""

    def __init__(self, experiment: Experiment, run: RunFolder, training: str) -> None:
        folder = run.path / FOLDER
        earlier = sorted((folder / "epochs").glob(f"{PREFIX}.out.tfevents.*"))
        self._epochs, self._steps = _File(folder / "epochs"), _File(folder / "steps")
        self._epochs.text("experiment", f"```yaml\n{_settings(experiment)}```")
        for event in standing(run.journal.events("epoch"), training):
            known = {name: value for name, value in event["metrics"].items() if value is not None}
            self._epochs.scalars(event["epoch"], known, event["time"])
        self._epochs.flush()
        for path in earlier:  # only now: a reader never finds less than there was
            path.unlink()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Its scores. An epoch that was there before voids what came after it."""
        self._epochs.scalars(epoch, metrics, time.time())

    def live(self, live: Live) -> None:
        """Numbers of a step; nothing where no step was made since."""
        if live.phase == "train" and live.step != self._steps.last_step:
            values = {f"step/{tag}": getattr(live, tag) for tag in LIVE_TAGS if getattr(live, tag) is not None}
            self._steps.scalars(live.step, values | {"step/workers": float(live.num_workers)}, time.time())

    def event(self, event: Event) -> None:
        """What happened, as text."""
        if text := event_text(event):
            self._steps.text("events", text, event.get("step"))

    def close(self, outcome: str) -> None:
        """All is on disk."""
        self._epochs.close()
        self._steps.close()


class _File:
    """One event file. A number at or before the last one voids what was written from there on."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # noqa: PLC0415  # in a tracker's thread, if at all
        from tensorboardX.proto import event_pb2, summary_pb2  # noqa: PLC0415
        from tensorboardX.summary import text  # noqa: PLC0415

        folder.mkdir(parents=True, exist_ok=True)
        self._event_pb2, self._summary_pb2, self._text = event_pb2, summary_pb2, text
        # A process may open two in one second, and tensorboardX names them by it.
        self._writer = EventsWriter(str(folder / PREFIX), f".{os.getpid()}.{time.monotonic_ns()}")
        self._flushed_at = time.monotonic()
        self.last_step: int | None = None

    def scalars(self, step: int, values: Mapping[str, float], at: float) -> None:
        """One record with all values. The first of a file is a restart too: earlier files may go further."""
        if self.last_step is None or step <= self.last_step:
            started = self._event_pb2.SessionLog(status=self._event_pb2.SessionLog.START)
            self._writer.write_event(self._event_pb2.Event(wall_time=at, step=step, session_log=started))
        self.last_step = step
        pairs = [
            self._summary_pb2.Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if math.isfinite(value)
        ]
        self._write(self._summary_pb2.Summary(value=pairs), step, at)

    def text(self, tag: str, markdown: str, step: int | None = None) -> None:
        """Text at a step, or where the file stands."""
        self._write(self._text(tag, markdown), self.last_step or 0 if step is None else step, time.time())

    def _write(self, summary: Any, step: int, at: float) -> None:
        self._writer.write_event(self._event_pb2.Event(wall_time=at, step=step, summary=summary))
        if time.monotonic() - self._flushed_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """For readers to see."""
        self._writer.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """The last of it."""
        self._writer.close()


def _settings(experiment: Experiment) -> str:
    return str(yaml.safe_dump(without_secrets(experiment.model_dump(mode="json")), sort_keys=False))
