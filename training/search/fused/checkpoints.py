"""A lane's place in the form of `training.loop.Trainer`: a lane can go on alone, and a trial by itself as a lane."""

from typing import Any

import torch
from torch import Tensor

from training.config import Experiment
from training.data.prepared import Facts, Part
from training.errors import TrainingFailed
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.optim import build_optimizer
from training.search.fused.lane import Lane
from training.search.fused.template import Template
from training.search.fused.tensors import BEST, BEST_FIXED, FIXED, WEIGHTS, Row, row_of, under
from training.session import Checkpoint, PlainSession, copied


class LaneCheckpoints:
    """Takes and reads them.

    Args:
        template: of the stack.
        moments: of the optimizer, as its own state names them.
        facts: of the data.
        validation: the rows that judge; their device is of no matter here.
        code_path: folder that the experiment's own code is imported from.
    """

    def __init__(
        self, template: Template, moments: tuple[str, ...], facts: Facts, validation: Part, code_path: str
    ) -> None:
        self._template, self._layout, self._moments = template, template.layout, moments
        self._facts, self._validation, self._code_path = facts, validation, code_path
        self._form: Checkpoint | None = None

    def taken(self, lane: Lane, row: Row) -> Checkpoint:
        """What `Trainer.checkpoint` would give at this place; `row` is nobody else's."""
        has_best = lane.best.epoch > 0
        best = self._layout.state_of(row[BEST], under(row, BEST_FIXED)) if has_best else {}
        return copied(self._form_of(lane)) | {
            "epoch": lane.epoch,
            "samples": lane.samples,
            "step": lane.step,
            "loss_sums": lane.losses.sums(),
            "loss_baseline": [lane.losses.baseline, lane.losses.num_baseline],
            "model": copied(self._layout.state_of(row[WEIGHTS], under(row, FIXED))),
            "optimizer": self._optimizer_state(lane, row),
            "schedule": lane.schedule.state_dict(),
            "num_rollbacks": lane.num_rollbacks,
            "best": {**lane.best.state(), "model": copied(best)},
            "history": [dict(metrics) for metrics in lane.history],
        }

    def restored(self, lane: Lane, checkpoint: Checkpoint) -> Row:
        """The lane's numbers, and the lane put to its place. Raises TrainingFailed if it was taken on other data."""
        if checkpoint["data_fingerprint"] not in (self._facts.fingerprint, *self._facts.accepts):
            raise TrainingFailed(
                f"the checkpoint of {lane.name} was taken on other data (fingerprint "
                f"{checkpoint['data_fingerprint']}, now {self._facts.fingerprint})",
                "search under another name, or bring the data back",
            )
        lane.epoch, lane.samples, lane.step = checkpoint["epoch"], checkpoint["samples"], checkpoint["step"]
        lane.losses.begin(checkpoint["loss_sums"])
        lane.losses.baseline, lane.losses.num_baseline = checkpoint["loss_baseline"]
        lane.num_rollbacks = checkpoint["num_rollbacks"]
        lane.history = [dict(metrics) for metrics in checkpoint["history"]]
        if checkpoint.get("schedule"):
            lane.schedule.load_state_dict(checkpoint["schedule"])
        best = checkpoint["best"]
        lane.best.load(best)
        row = row_of(*self._split(checkpoint["model"]), self._moments_of(checkpoint["optimizer"]["state"]))
        if best["model"]:
            weights_P, fixed = self._split(best["model"])
            row |= {BEST: weights_P, **{f"{BEST_FIXED}{name}": value for name, value in fixed.items()}}
        return row

    def _split(self, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self._layout.row_of_state(state), self._layout.fixed_of(state)

    def _moments_of(self, states: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
        """Moments (P,) by name; those of parameters that made no step are 0. The layout is the optimizer's order."""
        found = {}
        for name in self._moments:
            parts = [
                torch.zeros(size) if (value := states.get(i, {}).get(name)) is None else value.flatten().cpu()
                for i, size in enumerate(self._layout.sizes)
            ]
            found[name] = torch.cat(parts)
        return found

    def _optimizer_state(self, lane: Lane, row: Row) -> dict[str, Any]:
        settings = lane.config.optimizer
        optimizer = build_optimizer(self._template.model, lane.config, row[WEIGHTS].device)
        state: dict[str, Any] = optimizer.state_dict()
        if lane.step == 0:
            return state
        lane.schedule.apply(optimizer, lane.step - 1)
        state = optimizer.state_dict()
        each: list[dict[str, Any]] = [{} for _ in self._layout.names]
        for name in self._moments:
            for own, value in zip(each, self._layout.values_of(row[name]).values(), strict=True):
                # SGD without a momentum keeps none.
                own[name] = None if name == "momentum_buffer" and not settings.momentum else copied(value)
        if settings.kind == "adamw":
            for own in each:
                own["step"] = torch.tensor(float(lane.step), device=row[WEIGHTS].device)
        state["state"] = dict(enumerate(each))
        return state

    def _form_of(self, lane: Lane) -> Checkpoint:
        """A checkpoint of a training that has not begun, for what a lane does not change of it."""
        if self._form is None:
            self._form = _fresh_checkpoint(lane.experiment, self._facts, self._validation, lane.metric, self._code_path)
        return self._form


def _fresh_checkpoint(
    experiment: Experiment, facts: Facts, validation: Part, metric: str, code_path: str
) -> Checkpoint:
    model = build_model(
        experiment.model, ModelInputs.of(facts.transforms, facts.num_outputs), experiment.train.seed, code_path
    )
    one_row = Part({name: array[:1] for name, array in validation.tensors.items()}, validation.target[:1])
    trainer = Trainer(experiment.train, model, facts, one_row, validation, PlainSession(), metric, code_path=code_path)
    return {name: value for name, value in trainer.checkpoint().items() if name not in ("model", "optimizer", "best")}
