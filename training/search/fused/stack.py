"""Trials of one shape as lanes of one stacked model, which step together.

Shape letters: L lanes, B rows of a batch, P weights of a lane.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.config import Experiment
from training.cpu_memory import keep_freed_memory
from training.data.memory import Rows
from training.data.prepared import Facts, Part
from training.errors import TrainingFailed
from training.loss_log import STEPS_A_LOOK, Diverged
from training.metric_names import prefixed
from training.outputs import evaluation_rows
from training.search.fused.batches import LaneLoader
from training.search.fused.checkpoints import LaneCheckpoints
from training.search.fused.lane import Lane
from training.search.fused.optimizer import MOMENTS
from training.search.fused.scores import LaneScores
from training.search.fused.step import LaneStep
from training.search.fused.template import Template
from training.search.fused.tensors import LaneTensors, row_of
from training.session import Checkpoint, Place
from training.suitable import require_suitable

LEAST_ROWS = 512  # of an evaluation at a time, however many lanes there are


class _Seen(NamedTuple):
    """A step whose losses nobody has looked at yet."""

    places: tuple[Place | None, ...]  # of each lane; None: it had consumed these rows before
    losses_L: Tensor
    norms_L: Tensor
    row_ids: tuple[Tensor, ...]


class Stack:
    """A stacked model, and what each lane of it knows.

    A lane's weights, scores and checkpoints are those of its trial by itself, but for the last digits: sums are in
    another order. One whose loss is no number does not touch its neighbours.

    Args:
        experiment: of any of the trials: it says their shape, see `signature`.
        facts: of the data.
        train: rows to learn from.
        validation: rows that judge each epoch.
        metric: decides which epoch is best.
        device: to train on.
        code_path: folder that the experiment's own code is imported from.
    """

    def __init__(
        self, experiment: Experiment, facts: Facts, train: Part, validation: Part, *, metric: str,
        device: torch.device, code_path: str = "",
    ) -> None:  # fmt: skip
        if device.type == "cpu":
            keep_freed_memory()
        config, moments = experiment.train, MOMENTS[experiment.train.optimizer.kind]
        self._facts, self._metric = facts, metric
        self._template = Template(experiment, facts, device, code_path)
        self._tensors = LaneTensors(moments, device)
        self._step = LaneStep(config, facts, train, self._template, self._tensors, device)
        self._loader = LaneLoader(config, facts, train, device)
        self._validation, self._validation_part = Rows.of(validation, device), validation
        self._scores = LaneScores(facts, config.loss, metric, device)
        self._checkpoints = LaneCheckpoints(self._template, moments, facts, validation, code_path)
        self.steps_per_epoch = math.ceil(len(train) / config.global_batch_size)
        self._lanes: list[Lane] = []
        self._unseen: list[_Seen] = []
        self._failed: dict[str, TrainingFailed] = {}  # found, and not told yet

    @property
    def num_lanes(self) -> int:
        """Trials in it."""
        return len(self._lanes)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the trials in it."""
        return tuple(lane.name for lane in self._lanes)

    @property
    def num_bytes(self) -> int:
        """That the lanes' weights, moments and best weights take."""
        return self._tensors.num_bytes

    def lane(self, name: str) -> Lane:
        """What a lane knows; read it, do not change it."""
        return self._lanes[self.names.index(name)]

    def add(self, name: str, experiment: Experiment, checkpoint: Checkpoint | None = None) -> None:
        """Take in a trial, from its beginning or where `checkpoint` was taken: by a stack, or by `Trainer`.

        Raises:
            ConfigError: its settings do not suit the data.
            TrainingFailed: the checkpoint was taken on other data.
        """
        assert name not in self.names, f"{name} is in the stack"
        self._look()
        require_suitable(experiment.train, self._facts, self._validation_part.target)
        lane = Lane(name, experiment, self._metric, self.steps_per_epoch)
        if checkpoint is None:
            weights_P, fixed = self._template.first_weights(experiment)
            zeros = {moment: torch.zeros_like(weights_P) for moment in MOMENTS[lane.config.optimizer.kind]}
            row = row_of(weights_P, fixed, zeros)
        else:
            row = self._checkpoints.restored(lane, checkpoint)
        self._tensors.append(row)
        self._lanes.append(lane)

    def drop(self, names: Iterable[str]) -> None:
        """Leave trials out; the tensors shrink."""
        gone = set(names)
        assert gone <= set(self.names), f"{sorted(gone - set(self.names))} are not in the stack"
        self._look()
        for name in gone:
            self._failed.pop(name, None)
        kept = [i for i, lane in enumerate(self._lanes) if lane.name not in gone]
        self._lanes = [self._lanes[i] for i in kept]
        self._tensors.keep(kept)

    def checkpoint(self, name: str) -> Checkpoint:
        """Where a lane stands, as `Trainer.checkpoint` gives it; also in the middle of an epoch.

        Raises:
            TrainingFailed: it has diverged, and the next `train_epoch` would tell so.
        """
        self._look()
        if name in self._failed:
            raise self._failed[name]
        row = self.names.index(name)
        return self._checkpoints.taken(self._lanes[row], self._tensors.row(row))

    def train_epoch(self, boundary: Callable[[], None]) -> dict[str, dict[str, float] | TrainingFailed]:
        """One more epoch of every lane, or the rest of the one at hand.

        Args:
            boundary: called after every step and every batch of the evaluation. It may take checkpoints; what it raises
                passes through, and the stack then stands where that step ended.

        Returns:
            By lane the metrics of `Trainer.train_epoch`, with its share of the seconds; or why it failed, and then it
            has left the stack. Scores of a ranking are there only where one of them decides.
        """
        assert not (done := [lane.name for lane in self._lanes if lane.finished]), f"{done} are finished: drop them"
        began = time.perf_counter()
        self._train_steps(boundary)
        self._look()
        scores = self._evaluate(boundary)
        seconds = (time.perf_counter() - began) / max(self.num_lanes, 1)
        # Failed lanes stay until here: a host that leaves in between still finds all of its lanes.
        failed = dict(self._failed)
        scores = [own for lane, own in zip(self._lanes, scores, strict=True) if lane.name not in failed]
        if failed:
            self.drop(failed)
        return {**failed, **self._epoch_done(scores, seconds)}

    def _train_steps(self, boundary: Callable[[], None]) -> None:
        num_samples = self._loader.num_samples
        consumed = min((lane.samples for lane in self._lanes), default=num_samples)
        if consumed >= num_samples:
            return
        self._step.begin([lane.course for lane in self._lanes], [lane.experiment for lane in self._lanes])
        for batch in self._loader.batches([(lane.config.seed, lane.epoch) for lane in self._lanes], consumed):
            # One that goes on in the middle of its epoch waits until the others have come as far.
            waiting = [i for i, lane in enumerate(self._lanes) if lane.samples > batch.start]
            before = self._tensors.copies(waiting) if waiting else {}
            losses_L, norms_L = self._step(batch, [(lane.config.seed, lane.epoch) for lane in self._lanes])
            if waiting:
                self._tensors.put_back(waiting, before)
            places = tuple(None if lane.samples > batch.start else lane.place for lane in self._lanes)
            self._unseen.append(_Seen(places, losses_L, norms_L, batch.row_ids))
            for lane, place in zip(self._lanes, places, strict=True):
                if place is not None:
                    lane.samples, lane.step = batch.start + batch.num_samples, lane.step + 1
            if len(self._unseen) >= STEPS_A_LOOK:
                self._look()
            boundary()

    def _look(self) -> None:
        """Read the losses since the last look, and the weights. Waits for the device."""
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses_LS = torch.stack([seen.losses_L for seen in unseen], dim=1).cpu()
        norms_LS = torch.stack([seen.norms_L for seen in unseen], dim=1).cpu()
        sizes = torch.linalg.vector_norm(self._tensors.weights, dim=1).tolist()
        for i, lane in enumerate(self._lanes):
            steps = [(seen.places[i], loss, norm, seen.row_ids[i]) for seen, loss, norm in
                     zip(unseen, losses_LS[i].unbind(), norms_LS[i].unbind(), strict=True)]  # fmt: skip
            if lane.name in self._failed:
                continue
            try:
                lane.saw(steps, size=sizes[i])
            except Diverged as diverged:
                self._failed[lane.name] = lane.failure(diverged)

    @torch.no_grad()
    def _evaluate(self, boundary: Callable[[], None]) -> list[dict[str, float]]:
        """Scores on the validation rows; none where there are no such rows."""
        if not self._lanes or not len(self._validation):
            return [{} for _ in self._lanes]
        size = max(evaluation_rows(self._facts) // self.num_lanes, LEAST_ROWS)
        self._scores.reset()
        for index_B in torch.arange(len(self._validation)).split(size):
            tensors, target = self._validation.fetch(index_B)
            self._scores.update(self._step.answers(tensors), target)
            boundary()
        return self._scores.compute()

    def _epoch_done(self, scores: Sequence[dict[str, float]], seconds: float) -> dict[str, dict[str, float]]:
        best = []
        for row, (lane, own) in enumerate(zip(self._lanes, scores, strict=True)):
            loss = float(lane.losses.sums().mean()) / self.steps_per_epoch
            metrics = {"train/loss": loss} | prefixed("validation", own)
            if lane.epoch_done(metrics, seconds, is_judged=len(self._validation) > 0):
                best.append(row)
        if best:
            self._tensors.remember(best)
        return {lane.name: lane.history[-1] for lane in self._lanes}
