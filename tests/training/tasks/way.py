"""From an experiment to its package in this process, without a Ray."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.config import Experiment
from training.data.prepared import Prepared
from training.fit import FitResult
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model
from training.package.manifest import Manifest
from training.pipeline import Work, compress
from training.progress import Silent
from training.run_folder import RunFolder
from training.session import PlainSession

QUICK = {"max_drop": 1.0, "forms": ["int8", "int8_static"], "openvino": False, "measure_s": 0.02}


def packaged(raw: dict[str, Any], storage: Path) -> tuple[Work, nn.Module, Manifest, list[dict[str, float]]]:
    """The run's work, the best epoch's model, the package's manifest, and the epochs' scores."""
    torch.manual_seed(0)
    experiment = Experiment.model_validate({**raw, "storage": str(storage)})
    run = RunFolder.of(experiment)
    run.path.mkdir(parents=True, exist_ok=True)
    work = Work(experiment, run, Silent())
    model, history = trained(experiment, work.prepared, work.metric)
    manifest = compress(work, None, FitResult(model.state_dict(), len(history), {}, "", 1))
    return work, model.eval(), manifest, history


def trained(experiment: Experiment, prepared: Prepared, metric: str) -> tuple[nn.Module, list[dict[str, float]]]:
    """The model with the best epoch's weights."""
    facts, session = prepared.facts, PlainSession()
    model = build_model(experiment.model, ModelInputs.of(facts.transforms, facts.num_outputs), 0)
    trainer = Trainer(experiment.train, model, facts, prepared.train, prepared.validation, session, metric)
    run_to_end(trainer, session)
    model.load_state_dict(trainer.checkpoint()["best"]["model"])
    return model, session.history
