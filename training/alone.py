"""One training in this process, from data to the best epoch's model: a fold of a cross-validation, a curve's point.

Shape letters: N rows, K classes or labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.config import Experiment
from training.data.prepared import Facts, Part
from training.data.training_rows import training_rows
from training.determinism import deterministic
from training.loop import Trainer, run_to_end
from training.metrics import Scores
from training.models import ModelInputs, build_model
from training.outputs import evaluation_rows, to_scores
from training.session import PlainSession


@dataclass(frozen=True)
class Trained:
    """What one training came to."""

    model: nn.Module  # with the best epoch's weights, or the last one's where no epoch had a score
    epochs: int
    best_epoch: int  # 0 where no epoch had a score
    num_steps: int  # of the optimizer, to the best epoch


def train_alone(
    experiment: Experiment, facts: Facts, train: Part, validation: Part, *, metric: str, seed: int,
    device: torch.device, code_path: str,
) -> Trained:  # fmt: skip
    """Train the experiment's own settings with one worker, under another seed.

    Args:
        experiment: what to train.
        facts: of the data.
        train: rows to learn from, as they are before `train.imbalance.resample`.
        validation: rows that judge each epoch.
        metric: decides which epoch is best.
        seed: in place of `train.seed`.
        device: to train on.
        code_path: folder that the experiment's own code is imported from.
    """
    config = experiment.train.model_copy(update={"seed": seed})
    learned_from, _ = training_rows(config, facts, train)
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    with deterministic(config):
        model = build_model(experiment.model, inputs, seed, code_path, experiment.ensemble)
        session = PlainSession(device=device)
        trainer = Trainer(config, model, facts, learned_from, validation, session, metric, code_path=code_path)
        run_to_end(trainer, session)
    checkpoint = trainer.checkpoint()
    best, epochs = checkpoint["best"], int(checkpoint["epoch"])
    if best["model"]:
        model.load_state_dict(best["model"])
    num_steps = checkpoint["step"] * best["epoch"] // max(epochs, 1)
    return Trained(model, epochs, int(best["epoch"]), int(num_steps))


def predictions(model: nn.Module, facts: Facts, part: Part, device: torch.device) -> np.ndarray:
    """Probabilities (N, K), or predictions (N,) in the target's own unit. The model is left in evaluation mode."""
    found: np.ndarray = torch.cat([answer.cpu() for _, answer in _answers(model, facts, part, device)]).numpy()
    return found


def part_scores(
    model: nn.Module, facts: Facts, part: Part, device: torch.device, quantile: float | None = None
) -> dict[str, float]:
    """All scores that exist for a part. The model is left in evaluation mode.

    Args:
        model: that answers.
        facts: of the data.
        part: rows that judge.
        device: that the model is on.
        quantile: which one is predicted, where one is.
    """
    collected = Scores(facts.task, len(facts.labels), device, quantile=quantile)
    for rows, answer in _answers(model, facts, part, device):
        collected.update(answer, torch.from_numpy(part.target[rows].copy()).to(device))
    return {name: value for name, value in collected.compute().items() if np.isfinite(value)}


@torch.no_grad()
def _answers(model: nn.Module, facts: Facts, part: Part, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the part, piece by piece, and what the model says of them."""
    model.eval()
    size = evaluation_rows(facts)
    for start in range(0, len(part), size):
        rows = slice(start, start + size)
        # Copied: arrays of the object store cannot be written to, which torch warns of.
        tensors = [torch.from_numpy(array[rows].copy()).to(device) for array in part.tensors.values()]
        yield rows, to_scores(model(*tensors), facts)


def as_cause(error: BaseException) -> str:
    """An error as the cause of a failed training, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
