"""Which trials may be stacked: those that differ only in what each lane has for itself. No torch here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.config import Experiment
from training.data.prepared import Facts
from training.model_config import CustomModelConfig, ModelConfig
from training.train_config import TrainConfig

# Numbers that a lane has for itself: they change no tensor's shape, and no operation.
OF_A_LANE = (
    "peak_lr", "warmup_fraction", "weight_decay", "label_smoothing", "l1", "max_grad_norm", "seed", "epochs",
    "schedule", "early_stopping",
)  # fmt: skip
_OF_THE_OPTIMIZER = ("betas", "eps", "momentum")
# They say how a training is hosted, not what it computes.
_OF_THE_HOST = ("checkpoint", "max_failures", "hang_timeout_s", "workers", "cpus_per_worker", "device", "parallel")


@dataclass(frozen=True)
class Shape:
    """What trials must share to be stacked. Equal shapes may be stacked."""

    key: str


def signature(experiment: Experiment, facts: Facts) -> Shape | str:
    """The shape of a trial, or why it cannot be stacked, in words.

    Args:
        experiment: the trial's own.
        facts: of its data.
    """
    reason = next(_reasons(experiment), None)
    if reason is not None:
        return reason
    train = experiment.train.model_dump(mode="json")
    for name in (*OF_A_LANE, *_OF_THE_HOST):
        del train[name]
    for name in _OF_THE_OPTIMIZER:
        del train["optimizer"][name]
    del train["imbalance"]["threshold"]  # it is tuned after the training
    if experiment.train.loss.kind == "focal":  # the only loss that smoothing changes in more than its shares
        train["label_smoothing"] = experiment.train.label_smoothing
    key = {
        "data": experiment.data.model_dump(mode="json"), "facts": facts.fingerprint, "train": train,
        "model": _without_dropout(experiment.model),
    }  # fmt: skip
    return Shape(json.dumps(key, sort_keys=True))


def dropout_names(config: ModelConfig) -> tuple[str, ...]:
    """Settings of an architecture that are probabilities of a dropout."""
    return tuple(name for name in type(config).model_fields if name.endswith("dropout"))


def _without_dropout(config: ModelConfig) -> dict[str, Any]:
    dumped = config.model_dump(mode="json")
    return {name: value for name, value in dumped.items() if name not in dropout_names(config)}


def _reasons(experiment: Experiment) -> Iterator[str]:
    train = experiment.train
    if experiment.ensemble is not None:
        yield "ensemble is several models already"
    if experiment.data.loading == "stream":
        yield "data.loading is stream, and lanes gather their rows in memory"
    if experiment.data.task == "language_modelling":
        yield "data.task is language_modelling, whose models fill a device one at a time"
    if isinstance(experiment.model, CustomModelConfig) and experiment.model.args.get("dropout"):
        yield "model.args.dropout is of a class of your own, and cannot differ between lanes"
    yield from _of_the_training(train)


def _of_the_training(train: TrainConfig) -> Iterator[str]:
    told = {
        "train.optimizer.target is an optimizer of your own": train.optimizer.target is not None,
        "train.optimizer.kind=lion takes signs of gradients, which the last digit turns": train.optimizer.kind
        == "lion",
        "train.loss.target is a loss of your own": train.loss.target is not None,
        "train.ema keeps a second set of weights": train.ema is not None,
        "train.augment changes each trial's rows in another way": train.augment.is_on,
        "train.imbalance.resample makes rows by the seed of each trial": train.imbalance.resample is not None,
        f"train.precision={train.precision} is not fp32": train.precision != "fp32",
        "train.compile compiles one model at a time": train.compile,
        "train.micro_batch puts rows through in pieces": train.micro_batch is not None,
        "train.activation_checkpointing is of models that are too large to stack": train.activation_checkpointing,
        "train.deterministic promises the bits of a trial by itself": train.deterministic,
        "train.on_nan=rollback goes back to checkpoints of one trial": train.on_nan == "rollback",
    }
    yield from (reason for reason, is_so in told.items() if is_so)
