"""Which trials of a slot train as one stacked model, how many at a time, and the run that does it."""

import math
import time
from typing import Any

from training.alone import as_cause
from training.config import Experiment
from training.data.prepared import Facts, Part
from training.errors import StorageError, TrainingFailed
from training.package.errors import UserError
from training.search.fused.find import find_lanes
from training.search.fused.shape import Shape, signature
from training.search.fused.stack import Stack
from training.search.messages import Assignment, Cloning, Heard, HeardState
from training.search.slot.curve import Curve
from training.search.slot.solo import USEFUL_S
from training.search.slot.surroundings import Surroundings
from training.search.slot.trial_session import TrialKeeper
from training.search.slot.workbench import Run
from training.session import Leaving, Place

MEMORY_SHARE = 0.5  # of what a slot may take, for a stack


class Stacking:
    """Decides for one slot; what it finds out of a shape holds for all trials of that shape."""

    def __init__(self, around: Surroundings, most: int, memory_cap_mb: float) -> None:
        """
        Args:
            around: of the slot.
            most: trials that may train together.
            memory_cap_mb: that the slot may take.
        """
        self._around, self._most, self._cap_mb = around, most, memory_cap_mb
        self._found: dict[Shape, int] = {}  # lanes by shape; 1: each by itself
        self._notes: list[tuple[str, str]] = []
        self._said: set[str] = set()
        self.why_not = self._never()
        if self.why_not:
            self._say("alone", f"trials train one at a time: {self.why_not}")

    def _never(self) -> str:
        search, train = self._around.base.search, self._around.base.train
        assert search is not None
        reasons = {
            "": search.fuse is False,  # as it was asked for: nothing to say
            "train.workers is above 1": train.max_workers > 1,
            "search.folds and search.seeds train each trial several times": search.replicates > 1,
            "members of a population take over each other's weights": search.scheduler.kind == "pbt",
        }  # fmt: skip
        self._is_off = any(reasons.values())
        told = next((reason for reason, is_so in reasons.items() if is_so), "")
        return told if search.fuse is True or "train.workers" not in told else ""

    @property
    def lanes(self) -> int:
        """Trials that train together; as many as may, as long as no shape was measured."""
        if self._is_off:
            return 1
        return max(self._found.values(), default=self._most)

    def notes(self) -> tuple[tuple[str, str], ...]:
        """What is new to say of it: what about, and a line."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def admit(self, assignment: Assignment, runs: list[Run]) -> Run | None:
        """The stack that has taken it in; None where it trains by itself, also where its settings are wrong: its own
        run then says what is."""
        if self._is_off or self._most < 2:
            return None
        try:
            experiment = self._around.experiment_of(assignment.params)
            with self._around.watched.paused():  # it may read a table
                facts, train, validation = self._around.rows_of(experiment, None, experiment.train.seed)
        except UserError:
            return None
        shape = signature(experiment, facts)
        if isinstance(shape, str) or not isinstance(train, Part):
            self._say("unlike", f"some trials train one at a time: {shape}")
            return None
        try:
            if shape not in self._found:
                self._found[shape] = self._measured(experiment, shape)
            if self._found[shape] < 2:
                return None
            stack = next((run for run in runs if isinstance(run, StackRun) and run.shape == shape), None)
            return self._joined(stack, shape, assignment, experiment, (facts, train, validation))
        except Exception as error:  # of a model of somebody's own: by itself it fails with its cause, and alone
            self._found[shape] = 1
            self._say("unlike", f"some trials train one at a time: a stack of them cannot be made: {as_cause(error)}")
            return None

    def _joined(
        self, stack: "StackRun | None", shape: Shape, assignment: Assignment, experiment: Experiment,
        rows: tuple[Facts, Part, Part],
    ) -> "StackRun":  # fmt: skip
        around, (facts, train, validation) = self._around, rows
        with around.watched.paused():
            measured = around.measure(
                experiment, lambda: around.model_of(experiment, facts, experiment.train.seed), validation
            )
            if stack is None:
                stacked = Stack(
                    experiment, facts, train, validation, metric=around.metric, device=around.device,
                    code_path=around.code_path,
                )  # fmt: skip
                stack = StackRun(shape, stacked, around)
            stack.add(assignment, experiment, measured)
        return stack

    def _measured(self, experiment: Experiment, shape: Shape) -> int:
        facts, train, validation = self._around.rows_of(experiment, None, experiment.train.seed)
        search = self._around.base.search
        assert search is not None
        assert isinstance(train, Part)
        if search.fuse is True and search.lanes is not None:
            return min(search.lanes, self._most)
        found = find_lanes(
            experiment, facts, train, validation, metric=self._around.metric, device=self._around.device,
            most=self._most, memory_cap_mb=self._cap_mb * MEMORY_SHARE, code_path=self._around.code_path,
            life=self._around.watched,
        )  # fmt: skip
        if found.lanes > 1:
            self._say(
                "stacked",
                f"{found.lanes} trials train as one stacked model, {found.speedup:.1f} times as fast as one after the "
                "other",
            )
            return found.lanes
        stacked = {lanes: rate for lanes, rate in found.samples_per_s.items() if lanes > 1}
        if search.fuse is True and stacked:
            return max(stacked, key=lambda lanes: stacked[lanes])
        self._say("alone", f"trials train one at a time: {found.reason}")
        return 1

    def _say(self, about: str, text: str) -> None:
        if about not in self._said:
            self._said.add(about)
            self._notes.append((about, text))


class StackRun:
    """Trials of one shape, an epoch of all of them at a time."""

    is_alone = False

    def __init__(self, shape: Shape, stack: Stack, around: Surroundings) -> None:
        self.shape, self._stack, self._around = shape, stack, around
        self._lanes: dict[str, _Lane] = {}
        self._looked_at = time.perf_counter()

    @property
    def trials(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._lanes)

    @property
    def num_busy(self) -> int:
        """Lanes that have not ended."""
        return sum(self._state(name) in ("running", "judged") for name in self._lanes)

    @property
    def can_advance(self) -> bool:
        """Whether none of them waits for a verdict; the driver answers before the next epoch."""
        return bool(self._lanes) and all(self._state(name) == "running" for name in self._lanes)

    def add(self, assignment: Assignment, experiment: Experiment, measured: tuple[float, float] | None) -> None:
        """One more trial, from where it stood; `measured` is what the search weighs of its model."""
        began = time.perf_counter()
        around, trial = self._around, assignment.trial
        keeper = around.keeper_of(trial, experiment, may_be_there=assignment.resumes)
        lane = _Lane(assignment, keeper, Curve(around.metric, around.mode))
        lane.measured = measured
        self._lanes[assignment.trial] = lane
        try:
            checkpoint = lane.keeper.newest() if assignment.resumes else None
            self._stack.add(assignment.trial, experiment, checkpoint)
            if assignment.resumes:
                lane.restored_s = lane.useful_s = float(checkpoint.get(USEFUL_S, 0.0)) if checkpoint else 0.0
        except (UserError, RuntimeError, KeyError, ValueError) as error:  # the trial's own, told with its cause
            lane.cause = as_cause(error)
        lane.startup_s += time.perf_counter() - began

    def advance(self) -> None:
        """An epoch of every lane; a machine that goes, or the end of the time, is answered after a step."""
        self._looked_at = time.perf_counter()
        told: dict[str, Any] = {}
        try:
            told = self._stack.train_epoch(self._boundary)
        except Leaving:
            self._count_time()
            self.leave()
            self._looked_at = time.perf_counter()  # to save is no training
        self._count_time()
        for name, lane in self._lanes.items():
            lane.most_lanes = max(lane.most_lanes, len(self._lanes))
            if isinstance(outcome := told.get(name), TrainingFailed):
                lane.cause = as_cause(outcome)

    def _count_time(self) -> None:
        """What was spent since the last look, shared out among the lanes."""
        now = time.perf_counter()
        spent, self._looked_at = (now - self._looked_at) / max(len(self._lanes), 1), now
        for lane in self._lanes.values():
            lane.useful_s += spent
            lane.untold_s += spent

    def _boundary(self) -> None:
        around = self._around
        around.watched.beats += 1
        if around.notices.is_raised or around.watched.is_over():
            raise Leaving(Place(0, 0, 0))
        for name, lane in self._lanes.items():
            if not lane.cause and lane.keeper.is_due():
                self._save(name, wait=False)

    def _save(self, name: str, *, wait: bool) -> None:
        lane = self._lanes[name]
        try:
            checkpoint = {**self._stack.checkpoint(name), USEFUL_S: lane.useful_s}
            place = Place(int(checkpoint["epoch"]), int(checkpoint["samples"]), int(checkpoint["step"]))
            lane.keeper.save(checkpoint, place, wait=wait)
        except (StorageError, TrainingFailed) as error:  # of one that has diverged, its neighbours go on
            lane.cause = as_cause(error)

    def _state(self, name: str) -> HeardState:
        lane = self._lanes[name]
        if lane.cause:
            return "failed"
        if lane.has_left:
            return "left"
        stacked = self._stack.lane(name)
        if stacked.finished:
            return "finished"
        return "judged" if stacked.epoch >= lane.until else "running"

    def heard(self) -> list[Heard]:
        """What is new since the last time."""
        return [heard for name in self._lanes if (heard := self._heard(name)) is not None]

    def _heard(self, name: str) -> Heard | None:
        lane, state = self._lanes[name], self._state(name)
        history = self._stack.lane(name).history if name in self._stack.names else []
        epoch = len(history) if history else lane.told_level
        level = min(epoch, lane.until) if state == "judged" else epoch
        if (state, level) == lane.told:
            return None
        if history:
            lane.curve.follow(history)
        new = lane.curve.scores[lane.told_level : level]
        lane.told, lane.told_level = (state, level), max(level, lane.told_level)
        loss = self._stack.lane(name).best.loss if history else 0.0
        heard = Heard(
            name, state, level, values=self._values(level, lane), curve=tuple(new),
            loss=loss if math.isfinite(loss) else 0.0, epochs=epoch, useful_s=lane.untold_s, startup_s=lane.startup_s,
            restored_s=lane.restored_s, cause=lane.cause, lanes=lane.most_lanes, saved_bytes=lane.keeper.saved_bytes,
            share=self._share(name),
        )  # fmt: skip
        lane.untold_s = lane.startup_s = 0.0
        lane.restored_s = None
        return heard

    def _share(self, name: str) -> float:
        steps = self._stack.steps_per_epoch * self._around.base.train.epochs
        return self._stack.lane(name).step / max(steps, 1) if name in self._stack.names else 0.0

    def _values(self, level: int, lane: "_Lane") -> tuple[float, ...]:
        if not level or level > len(lane.curve.bests):
            return ()
        return self._around.weighed(lane.curve.bests[level - 1], lane.useful_s, lane.measured)

    def go_on(self, trial: str, until: int) -> None:
        """It was judged, and stays."""
        self._lanes[trial].until = until

    def clone(self, trial: str, cloning: Cloning) -> None:
        """Populations are not stacked."""
        raise AssertionError("members of a population train by themselves")

    def end(self, trial: str, *, keep: bool) -> None:
        """It has ended: its lane is free."""
        lane = self._lanes[trial]
        if keep and not lane.cause:
            self._save(trial, wait=True)
        lane.keeper.close()
        del self._lanes[trial]
        if trial in self._stack.names:
            self._stack.drop([trial])

    def leave(self) -> None:
        """Save all of them, and make no more steps. Those that are done save their weights: nobody can ask later."""
        for name, lane in self._lanes.items():
            state = self._state(name)
            if state in ("running", "judged", "finished"):
                self._save(name, wait=True)
                lane.has_left = state != "finished" and not lane.cause


class _Lane:
    """What the slot knows of one trial in a stack."""

    def __init__(self, assignment: Assignment, keeper: TrialKeeper, curve: Curve) -> None:
        self.until, self.keeper, self.curve = assignment.until, keeper, curve
        self.told: tuple[HeardState, int] = ("running", assignment.known)
        self.told_level = assignment.known
        self.useful_s = self.untold_s = self.startup_s = 0.0
        self.restored_s: float | None = None
        self.most_lanes = 1
        self.measured: tuple[float, float] | None = None
        self.cause = ""
        self.has_left = False
