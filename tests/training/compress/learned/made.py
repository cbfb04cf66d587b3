"""Small trainings for the tests of learned forms."""

from typing import Any

import torch
from torch import nn

from training.alone import train_alone
from training.compress.learned.around import Around, Base, num_weights
from training.compress.learned.tuning import validation_score
from training.config import Experiment
from training.data.prepared import Part, Prepared
from training.models import ModelInputs, build_model
from training.train_config import TrainConfig

TRAIN = {"epochs": 3, "global_batch_size": 64, "peak_lr": 0.01}


def around(prepared: Prepared, model: dict[str, Any], metric: str = "accuracy", **settings: Any) -> Around:
    """These rows, with an experiment of this model; `settings` are further keys of the experiment."""
    train = TrainConfig.model_validate(TRAIN | settings.pop("train", {}))
    data = {"source": "sklearn:digits", "target": "target"} | settings.pop("data", {})
    experiment = Experiment.model_validate({"name": "made", "data": data, "model": model, "train": train, **settings})
    return Around(experiment, prepared, metric)


def untrained(around: Around) -> nn.Module:
    """The experiment's model with its first weights."""
    facts, experiment = around.prepared.facts, around.experiment
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    return build_model(experiment.model, inputs, experiment.train.seed, around.code_path, experiment.ensemble).eval()


def trained(around: Around) -> Base:
    """The experiment's model, trained."""
    prepared, experiment = around.prepared, around.experiment
    assert isinstance(prepared.train, Part)
    model = train_alone(
        experiment, prepared.facts, prepared.train, prepared.validation, metric=around.metric,
        seed=experiment.train.seed, device=torch.device("cpu"), code_path=around.code_path,
    ).model.eval()  # fmt: skip
    return Base(model, (), num_weights(model), validation_score(model, around))
