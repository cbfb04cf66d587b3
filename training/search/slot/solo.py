"""A trial by itself: the one training loop, an epoch at a time, or one training after another (folds, seeds)."""

import math
import time
from collections.abc import Mapping
from typing import Any

from training.alone import as_cause
from training.checkpoint.store import CheckpointStore
from training.config import Experiment
from training.determinism import deterministic
from training.errors import StorageError
from training.loop import Trainer, next_epoch
from training.search.messages import Assignment, Cloning, Heard, HeardState, Part
from training.search.slot.curve import Curve
from training.search.slot.one_trial import OneTrial
from training.search.slot.surroundings import Surroundings
from training.search.slot.trial_session import TrialKeeper, TrialSession
from training.session import Checkpoint, Leaving, Place

REPLICATE = "replicate"  # what a trial's checkpoint holds beside its training's
PARTS = "parts"
USEFUL_S = "useful_s"
EPOCHS = "epochs_before"
BETWEEN = "between"  # its training is done, and the next one not begun


class SoloRun(OneTrial):
    """One trial in this process. Errors of the trial end the trial, not the slot."""

    def __init__(self, assignment: Assignment, around: Surroundings) -> None:
        super().__init__(assignment)
        self._around = around
        self._replicates = around.replicates
        self._curve = Curve(around.metric, around.mode)
        self._experiment: Experiment | None = None
        self._keeper: TrialKeeper | None = None
        self._trainer: Trainer | None = None
        self._done: Trainer | None = None  # of the training before, until the next one begins
        self._replicate = 0
        self._epochs = 0  # of trainings that are done, beside the one at hand
        self._parts: list[Part] = []
        self._told: tuple[HeardState, int] = ("running", assignment.known)
        self._told_level = assignment.known
        self._useful_s = self._untold_s = self._startup_s = 0.0
        self._restored_s: float | None = None
        self._epoch_began: float | None = None
        self._cause = self._left = ""
        self._measured: tuple[float, float] | None = None  # latency in ms, size in MB

    @property
    def state(self) -> HeardState:
        """How it stands."""
        if self._cause:
            return "failed"
        if self._left:
            return "left"
        if self.is_finished:
            return "finished"
        return "judged" if self.level >= self.until else "running"

    @property
    def level(self) -> int:
        """Epochs done, or replicates."""
        if self._counts_epochs:
            return self._trainer.epoch if self._trainer else 0
        return len(self._parts)

    @property
    def is_finished(self) -> bool:
        """All that judges it is done."""
        if self._counts_epochs:
            return self._trainer is not None and self._trainer.finished
        return len(self._parts) == len(self._replicates)

    @property
    def _counts_epochs(self) -> bool:
        return len(self._replicates) == 1

    def advance(self) -> None:
        """One more epoch, an epoch of one more training, or what it takes to begin."""
        try:
            if self._trainer is None:
                with self._around.watched.paused():
                    self._begin()
            else:
                self._epoch(self._trainer)
        except Leaving as left:
            self._left = f"left at step {left.place.step}"
        except Exception as error:  # trying again would fail the same way: told, with its cause
            self._cause = as_cause(error)
        if self.state == "judged" and self._around.is_population:
            self._try_to_save()  # others may be told to go on from here

    def _begin(self) -> None:
        began = time.perf_counter()
        around, assignment = self._around, self.assignment
        if self._experiment is None:
            self._experiment = around.experiment_of(assignment.params)
            self._keeper = around.keeper_of(assignment.trial, self._experiment, may_be_there=assignment.resumes)
            checkpoint = self._keeper.newest() if assignment.resumes else None
            self._restore(checkpoint)
            if checkpoint is not None and checkpoint.get(BETWEEN):
                checkpoint = None
        else:
            checkpoint = None
        self._trainer, self._done = self._trainer_of(self._experiment, checkpoint), None
        if assignment.clone is not None:  # the process that was told to had no time to
            self.clone(assignment.trial, assignment.clone)
        self._startup_s += time.perf_counter() - began

    def _restore(self, checkpoint: Checkpoint | None) -> None:
        if not self.assignment.resumes:
            return
        self._restored_s = 0.0
        if checkpoint is not None:
            self._replicate = int(checkpoint.get(REPLICATE, 0))
            self._parts = [Part(*values) for values in checkpoint.get(PARTS, ())]
            self._restored_s = self._useful_s = float(checkpoint.get(USEFUL_S, 0.0))
            self._epochs = int(checkpoint.get(EPOCHS, 0))

    def _trainer_of(self, experiment: Experiment, checkpoint: Checkpoint | None) -> Trainer:
        around = self._around
        fold, added = self._replicates[min(self._replicate, len(self._replicates) - 1)]
        seed = experiment.train.seed + added
        config = experiment.train.model_copy(update={"seed": seed})
        facts, rows, validation = around.rows_of(experiment, fold, seed)
        assert self._keeper is not None
        session = _Session(self, around, self._keeper)
        with deterministic(config):
            model = around.model_of(experiment, facts, seed)
            trainer = Trainer(
                config, model, facts, rows, validation, session, around.metric, code_path=around.code_path
            )
        if checkpoint is not None:
            trainer.load(checkpoint)
        elif config.on_nan == "rollback":
            session.remember(trainer.checkpoint())
        self._measured = around.measure(experiment, lambda: model, validation)
        return trainer

    def _epoch(self, trainer: Trainer) -> None:
        if not trainer.finished:  # a checkpoint may have been taken at the end
            self._epoch_began = time.perf_counter()
            try:
                with deterministic(trainer.config):
                    next_epoch(trainer, trainer.session)
            finally:
                spent, self._epoch_began = self._spent_s(), None
                self._useful_s += spent
                self._untold_s += spent
        if trainer.finished and not self._counts_epochs:
            fold, seed = self._replicates[self._replicate]
            self._parts.append(Part(fold, seed, trainer.best.score))
            self._replicate += 1
            self._epochs += trainer.epoch
            self._trainer, self._done = None, trainer

    def _spent_s(self) -> float:
        """On the epoch at hand."""
        return 0.0 if self._epoch_began is None else time.perf_counter() - self._epoch_began

    def heard(self) -> list[Heard]:
        """What is new since the last time."""
        state = self.state
        level = min(self.level, self.until) if state == "judged" else self.level
        if (state, level) == self._told:
            return []
        self._told = (state, level)
        new = self._scores()[self._told_level : level]
        self._told_level = max(level, self._told_level)
        epochs = self._epochs + (self._trainer.epoch if self._trainer else 0)
        heard = Heard(
            self.assignment.trial, state, level, values=self._values(level), curve=tuple(new), loss=self._loss(),
            parts=tuple(self._parts), epochs=epochs, useful_s=self._untold_s, startup_s=self._startup_s,
            restored_s=self._restored_s, cause=self._cause,
            saved_bytes=self._keeper.saved_bytes if self._keeper else 0, share=self._share(),
        )  # fmt: skip
        self._untold_s = self._startup_s = 0.0
        self._restored_s = None
        return [heard]

    def _share(self) -> float:
        """Done of the whole trial, if no training of it stops early."""
        trainer, epochs = self._trainer, self._around.base.train.epochs
        steps = trainer.step / max(trainer.steps_per_epoch * epochs, 1) if trainer else 0.0
        return min(1.0, (len(self._parts) + steps) / len(self._replicates))

    def _scores(self) -> list[float]:
        """Of each level."""
        if not self._counts_epochs:
            return [part.score for part in self._parts]
        self._curve.follow(self._trainer.history if self._trainer else [])
        return self._curve.scores

    def _values(self, level: int) -> tuple[float, ...]:
        if not level:
            return ()
        scores = self._scores()
        score = self._curve.bests[level - 1] if self._counts_epochs else sum(scores[:level]) / level
        return self._around.weighed(score, self._useful_s, self._measured)

    def _loss(self) -> float:
        loss = self._trainer.best.loss if self._trainer else 0.0
        return loss if math.isfinite(loss) else 0.0

    def extra(self) -> dict[str, Any]:
        """What a checkpoint of the trial holds beside its training's."""
        parts = [[part.fold, part.seed, part.score] for part in self._parts]
        useful_s = self._useful_s + self._spent_s()
        return {
            REPLICATE: self._replicate, PARTS: parts, USEFUL_S: useful_s, EPOCHS: self._epochs,
            BETWEEN: self._trainer is None,
        }  # fmt: skip

    def save(self) -> None:
        """Where it stands, safely in the run's storage; a trial that is not begun has nothing to lose."""
        trainer = self._trainer or self._done
        if trainer is not None and self._keeper is not None:
            checkpoint = {**trainer.checkpoint(), **self.extra()}
            with self._around.watched.paused():
                self._keeper.save(checkpoint, trainer.place, wait=True)

    def _try_to_save(self) -> None:
        """What cannot be saved is no fault of the trial: it goes on from an older checkpoint."""
        try:
            self.save()
        except StorageError as error:
            self._around.say("storage", f"a trial could not be saved: {error}")

    def leave(self) -> None:
        """Save it, since the machine goes or the time is up; of one that is done the weights, which nobody can ask for
        later."""
        state = self.state
        if state in ("running", "judged") or (state == "finished" and self._counts_epochs):
            self._try_to_save()
        if state in ("running", "judged"):
            self._left = "left"

    def end(self, trial: str, *, keep: bool) -> None:
        """It has ended; its best weights may be worth keeping."""
        if keep and self._counts_epochs:
            self._try_to_save()
        self.close()

    def clone(self, trial: str, cloning: Cloning) -> None:
        """Go on from another member's weights, with other settings."""
        assert self._keeper is not None
        try:
            found = CheckpointStore(self._around.place_of(cloning.source)).newest_intact()
            experiment = self._around.experiment_of(cloning.params)
            if found is not None:
                trainer = self._trainer_of(experiment, None)
                trainer.load(with_settings_of(trainer.checkpoint(), found[1]))
                self._trainer = trainer
                self._curve.clear()
                self._experiment = experiment
                self._try_to_save()  # a process that is lost must not go on from the weights of before
            self.until = cloning.until
        except Exception as error:  # told as the trial's own failure
            self._cause = as_cause(error)

    def close(self) -> None:
        """Finish what is being written."""
        if self._keeper is not None:
            self._keeper.close()
        self._trainer = self._done = None


class _Session(TrialSession):
    """Saves the trial's own state with its training's."""

    def __init__(self, run: SoloRun, around: Surroundings, keeper: TrialKeeper) -> None:
        super().__init__(around.device, keeper, around.notices, around.watched)
        self._run = run

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Into the run's storage. Raises StorageError with `wait`."""
        super().save({**checkpoint, **self._run.extra()}, place, wait=wait)


def with_settings_of(own: Mapping[str, Any], lent: Mapping[str, Any]) -> Checkpoint:
    """A lent checkpoint whose optimizer keeps the borrower's decay, betas and momentum: those are searched."""
    groups = [
        {**theirs, **{key: value for key, value in mine.items() if key not in ("params", "lr")}}
        for mine, theirs in zip(own["optimizer"]["param_groups"], lent["optimizer"]["param_groups"], strict=True)
    ]
    return {**lent, "optimizer": {**lent["optimizer"], "param_groups": groups}}
