"""A trial of several workers: the training engine's own TorchTrainer, with the same loop, started from its slot.

The slot itself takes no CPU: the workers have a placement group of their own, on whatever nodes there is room.
"""

import math
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from training.alone import as_cause
from training.capacity import Request
from training.config_file import as_written
from training.data.memory import contiguous
from training.data.prepared import Part as DataPart
from training.hosts.keeper import last_checkpoint
from training.hosts.pulse import Scale
from training.hosts.ray_train import train_on_workers
from training.hosts.record import Recorder
from training.journal import Journal
from training.progress import Live, Silent
from training.search.messages import Assignment, Cloning, Heard, HeardState
from training.search.slot.curve import Curve
from training.search.slot.one_trial import OneTrial
from training.search.slot.surroundings import Surroundings

LOOK_EVERY_S = 0.1


class TeamRun(OneTrial):
    """One trial, trained by workers of Ray Train while the slot waits."""

    def __init__(self, assignment: Assignment, around: Surroundings) -> None:
        super().__init__(assignment)
        self._around = around
        self._epochs, self._curve = _Epochs(around), Curve(around.metric, around.mode)
        self._thread: threading.Thread | None = None
        self._is_wanted = True
        self._has_ended = False
        self._cause = self._left = ""
        self._told = assignment.known
        self._told_state: HeardState = "running"
        self._told_s = self._told_startup_s = 0.0
        self._loss = 0.0

    @property
    def state(self) -> HeardState:
        """How it stands."""
        if self._cause:
            return "failed"
        if self._left:
            return "left"
        # Its workers may have run past a rung by the time that anybody looks: it is judged there all the same.
        if self.until < self._around.base.train.epochs and self.level >= self.until:
            return "judged"
        return "finished" if self._has_ended else "running"

    @property
    def level(self) -> int:
        """Epochs done."""
        return len(self._epochs.history)

    def advance(self) -> None:
        """Until another epoch is done, or a little while."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, name="manta-team", daemon=True)
            self._thread.start()
        before, deadline = self.level, time.monotonic() + 1.0
        while self.level == before and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        # Who watches for hangs among the workers is the training's own monitor.
        self._around.watched.beats += 1

    def _train(self) -> None:
        try:
            self._fit()
            self._has_ended = self._is_wanted
        except Exception as error:  # told as the trial's failure, by the thread that asks
            self._cause = as_cause(error)

    def _fit(self) -> None:
        around = self._around
        experiment = around.experiment_of(self.assignment.params)
        config = experiment.train
        facts, rows, validation = around.rows_of(experiment, None, config.seed)
        assert isinstance(rows, DataPart), "streams are refused before"
        steps = math.ceil(len(rows) / config.global_batch_size) * config.epochs
        task = {
            "experiment": as_written(experiment), "data": ray.put((facts, contiguous(rows), validation)),
            "feeder": None,
            "metric": around.metric, "code_path": around.code_path,
            "checkpoints": around.place_of(self.assignment.trial), "num_samples": len(rows),
        }  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="manta-trial-") as folder:
            scale = Scale(config.epochs, steps, len(rows))
            journal = Journal(Path(folder) / "journal.jsonl")
            recorder = Recorder(
                journal, Path(folder), self._epochs, name=self.assignment.trial, metric=around.metric, scale=scale
            )
            gpus = 1.0 if around.device.type == "cuda" else 0.0
            request = Request(config.max_workers, config.cpus_per_worker, gpus)
            train_on_workers(config, request, task, recorder, self._epochs, lambda: self._is_wanted)
            if self._is_wanted:
                checkpoint, _ = last_checkpoint(around.place_of(self.assignment.trial))
                recorder.history(checkpoint["history"])
                loss = float(checkpoint["best"]["loss"])
                self._loss = loss if math.isfinite(loss) else 0.0

    def heard(self) -> list[Heard]:
        """What is new since the last time."""
        state = self.state
        level = min(self.level, self.until) if state == "judged" else self.level
        if level <= self._told and state == self._told_state:
            return []
        self._curve.follow(self._epochs.history)
        new = self._curve.scores[self._told : level]
        self._told, self._told_state = max(self._told, level), state
        useful_s, startup_s = self._epochs.useful_s, self._epochs.startup_s
        values = self._around.weighed(self._curve.bests[level - 1], useful_s, None) if level else ()
        heard = Heard(
            self.assignment.trial, state, level, values=values, curve=tuple(new),
            loss=self._loss, epochs=self.level, useful_s=useful_s - self._told_s,
            startup_s=startup_s - self._told_startup_s, cause=self._cause, saved_bytes=1,
            share=self.level / self._around.base.train.epochs,
        )  # fmt: skip
        self._told_s, self._told_startup_s = useful_s, startup_s
        return [heard]

    def clone(self, trial: str, cloning: Cloning) -> None:
        """Populations train with one worker a member; the search refuses others before it starts."""
        raise AssertionError("members of a population have one worker")

    def leave(self) -> None:
        """Its workers save and end."""
        if self.state in ("running", "judged"):
            self._stop()
            self._left = "left"

    def end(self, trial: str, *, keep: bool) -> None:
        """It has ended; the workers' last checkpoint holds the best weights."""
        self._stop()

    def _stop(self) -> None:
        self._is_wanted = False
        if self._thread is not None:
            self._thread.join()


class _Epochs(Silent):
    """Hears each epoch of the training, those that a checkpoint brought back among them, and when steps are made."""

    def __init__(self, around: Surroundings) -> None:
        self.history: list[dict[str, Any]] = []
        self.useful_s = self.startup_s = 0.0
        self._around = around
        self._looked_at = time.perf_counter()
        self._step: int | None = None

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """One more, or one made again."""
        self._spent(is_useful=True)
        del self.history[epoch - 1 :]
        self.history.append(dict(metrics))

    def live(self, live: Live) -> None:
        """Workers without a step since the last look are only starting."""
        self._spent(is_useful=self._step is not None and live.step > self._step)
        self._step = live.step

    def note(self, text: str) -> None:
        """It waits for machines, for example."""
        self._around.say(text.partition(":")[0], text)

    def _spent(self, *, is_useful: bool) -> None:
        now = time.perf_counter()
        spent, self._looked_at = now - self._looked_at, now
        if is_useful:
            self.useful_s += spent
        else:
            self.startup_s += spent
