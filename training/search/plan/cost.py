"""What a trial costs, from a few real steps at the corners of a space: smallest and largest models, timed here."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.config import Experiment
from training.config_file import apply_overrides
from training.config_set import MODEL_KIND
from training.data.prepare import prepare
from training.data.prepared import Facts, Part, Prepared
from training.data.training_rows import training_rows
from training.determinism import deterministic
from training.errors import ConfigError
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.search.space.conditions import Never
from training.search.space.drawing import Space
from training.session import PlainSession

# Settings that change how long an epoch takes, besides data.* and model.*
OF_TIME = (
    "train.global_batch_size", "train.micro_batch", "train.optimizer.kind", "train.precision", "train.compile",
    "train.ema", "train.augment", "train.imbalance.resample", "train.imbalance.ratio",
    "train.activation_checkpointing",
)  # fmt: skip
EPOCH_S = 1.0  # an epoch that takes less is timed whole, as it is
TIMED_EPOCHS = 4
TIMED_S = 1.5  # of steps, where an epoch takes longer
WARM_UP_STEPS = 3
JUDGED_ROWS = 20_000  # that an evaluation is timed on
STEP_S, FLOPS_PER_S = 3e-4, 1e10  # only to say which corner is the dearer one: what a step costs, and its arithmetic


@dataclass(frozen=True)
class Cost:
    """Of a trial with these settings, on this machine, nothing else running."""

    params: dict[str, Any]
    num_weights: int
    setup_s: float  # rows, model and optimizer, and the first step
    epoch_s: float
    step_s: float
    steps_per_epoch: int


@dataclass(frozen=True)
class Bench:
    """What every corner is measured with."""

    experiment: Experiment
    space: Space
    prepared: Prepared
    metric: str
    device: torch.device
    code_path: str

    def experiment_of(self, params: Mapping[str, Any]) -> Experiment:
        """A trial's experiment."""
        return apply_overrides(self.experiment, params)

    def model_of(self, experiment: Experiment, facts: Facts) -> nn.Module:
        """A trial's model."""
        inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
        return build_model(experiment.model, inputs, experiment.train.seed, self.code_path, experiment.ensemble)

    def rows_of(self, experiment: Experiment) -> tuple[Facts, Part, Part]:
        """Facts, training rows and validation rows of a trial."""
        prepared = self.prepared
        if experiment.data != self.experiment.data:
            prepared = prepare(experiment.data, Path.cwd(), code_path=self.code_path)
        rows, _ = training_rows(experiment.train, prepared.facts, prepared.train)
        assert isinstance(rows, Part), "a search over streamed rows is refused before"
        return prepared.facts, rows, prepared.validation


def measured_corners(bench: Bench) -> list[Cost]:
    """The cheapest and the dearest trial of each kind of model, measured; fewer where they are the same.

    The number of threads is that of a slot, and set back afterwards.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(bench.experiment.train.cpus_per_worker)))
    try:
        wanted = corners(bench)
        _ = _begun(bench, wanted[0])  # what a process does once, torch's own start above all, is no trial's
        return sorted((measure(bench, params) for params in wanted), key=lambda cost: cost.epoch_s)
    finally:
        torch.set_num_threads(before)


def corners(bench: Bench) -> list[dict[str, Any]]:
    """The settings to measure, whole trials."""
    found: list[dict[str, Any]] = []
    for start in _starts(bench.space):
        for sign in (1, -1):
            params = _furthest(bench, start, sign)
            if params not in found:
                found.append(params)
    return found


def _starts(space: Space) -> Iterator[dict[str, Any]]:
    """A whole trial of each kind of model."""
    if MODEL_KIND not in space.dimensions:
        yield space.conditions.completed({})
        return
    for kind in space.dimensions[MODEL_KIND].values() or []:
        yield space.conditions.trial_with((MODEL_KIND, kind))


def _furthest(bench: Bench, start: dict[str, Any], sign: int) -> dict[str, Any]:
    """The cheapest (sign 1) or dearest (-1) trial that changing one setting after the other leads to."""
    best, lowest = start, sign * _effort(bench, start)
    for key in bench.space.dimensions:
        if key == MODEL_KIND or not _costs_time(key) or key not in best:
            continue
        for value in bench.space.dimensions[key].corners():
            try:
                params = bench.space.conditions.trial_with(*{**best, key: value}.items())
                effort = sign * _effort(bench, params)
            except (Never, ConfigError):  # this value does not go with the others: a trial would not have both
                continue
            if effort < lowest:
                best, lowest = params, effort
    return best


def _costs_time(key: str) -> bool:
    if key.startswith(("data.", "model.")):
        return "dropout" not in key
    return any(f"{key}.".startswith(f"{name}.") for name in OF_TIME)


def _effort(bench: Bench, params: Mapping[str, Any]) -> float:
    """About the seconds that an epoch takes: only its order counts."""
    experiment = bench.experiment_of(params)
    num_rows, batch = len(bench.prepared.train), experiment.train.global_batch_size
    num_weights = weights_of(bench.model_of(experiment, bench.prepared.facts))
    return num_rows / batch * STEP_S + num_rows * 6 * num_weights / FLOPS_PER_S


def weights_of(model: nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure(bench: Bench, params: dict[str, Any]) -> Cost:
    """Time a trial's first steps and epochs."""
    began = time.perf_counter()
    trainer, times_judged = _begun(bench, params)
    setup_s = time.perf_counter() - began
    with deterministic(trainer.config):
        step_s, epoch_s = _timed(trainer, times_judged, bench.device)
    return Cost(params, weights_of(trainer.model), setup_s, epoch_s, step_s, trainer.steps_per_epoch)


def _begun(bench: Bench, params: dict[str, Any]) -> tuple[Trainer, float]:
    """A trial after its first step, and its validation rows for one that it is judged by here."""
    experiment = bench.experiment_of(params)
    facts, train, validation = bench.rows_of(experiment)
    # An epoch costs the same at any rate; a rate of the corner might diverge, and would end the measurement.
    config = experiment.train.model_copy(
        update={"peak_lr": 1e-5, "epochs": max(experiment.train.epochs, TIMED_EPOCHS + 2), "early_stopping": None}
    )
    judged = Part({name: array[:JUDGED_ROWS] for name, array in validation.tensors.items()},
                  validation.target[:JUDGED_ROWS])  # fmt: skip
    with deterministic(config):
        model = bench.model_of(experiment, facts)
        session = PlainSession(device=bench.device)
        trainer = Trainer(config, model, facts, train, judged, session, bench.metric, code_path=bench.code_path)
        trainer.train_steps(1)
    _wait(bench.device)
    return trainer, len(validation) / max(len(judged), 1)


def _timed(trainer: Trainer, times_judged: float, device: torch.device) -> tuple[float, float]:
    """Seconds of a step and of an epoch; `times_judged`: validation rows for one that the trainer has."""
    trainer.train_steps(WARM_UP_STEPS)
    steps: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < TIMED_S:
        seconds, made = _seconds(lambda: trainer.train_steps(max(1, trainer.steps_per_epoch // 50)), device)
        if not made:
            break
        steps.append(seconds / made)
    trainer.evaluate()  # the first one warms up
    judged_s, _ = _seconds(trainer.evaluate, device)
    # The quickest quarter: whatever else the machine does only ever slows a step down.
    step_s = sorted(steps)[len(steps) // 4] if steps else 0.0
    epoch_s = step_s * trainer.steps_per_epoch + judged_s * times_judged
    if epoch_s < EPOCH_S and times_judged <= 1:
        trainer.train_epoch()  # the rest of the one at hand
        epoch_s = min(_seconds(trainer.train_epoch, device)[0] for _ in range(TIMED_EPOCHS))
    return step_s or epoch_s / trainer.steps_per_epoch, epoch_s


def _seconds(work: Any, device: torch.device) -> tuple[float, Any]:
    began = time.perf_counter()
    gave = work()
    _wait(device)
    return time.perf_counter() - began, gave


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
