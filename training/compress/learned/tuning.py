"""Training a model on: the one training loop, in this process, with nothing kept but the best weights."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.alone import part_scores
from training.compress.errors import NotMade
from training.compress.learned.around import Around
from training.compress.learned.teacher import TaughtLoss, Teacher
from training.compress_config import DistilConfig
from training.data.prepared import Part
from training.data.stream.part import StreamPart
from training.data.training_rows import training_rows
from training.determinism import deterministic
from training.loop import Trainer, run_to_end
from training.loss_log import Diverged
from training.losses import Loss
from training.losses.weights import token_weight
from training.package.errors import UserError
from training.session import PlainSession
from training.train_config import TrainConfig


def fine_tune(
    model: nn.Module, around: Around, *, epochs: int, peak_lr: float, teacher: nn.Module | None = None,
    distil: DistilConfig | None = None, seed_offset: int = 0,
) -> tuple[nn.Module, float]:  # fmt: skip
    """Train a copy of the model by the experiment's own settings; gives it on the CPU and its validation score.

    The weights of the best epoch are kept; those that it came with, where no epoch is better. Where there are no
    validation rows, the last epoch's, and the score is NaN. A stream is decoded by a thread of this process.

    Args:
        model: left as it is.
        around: data and settings.
        epochs: passes at most, in place of train.epochs; 0: it is only judged.
        peak_lr: in place of train.peak_lr.
        teacher: whose answers are learned from besides.
        distil: how much; None: by the defaults.
        seed_offset: added to train.seed.

    Raises:
        NotMade: it diverged, the settings do not suit it, or the validation rows have no such score; with the reason.
    """
    tuned = copy.deepcopy(model).cpu().eval()
    if epochs == 0:
        return tuned, validation_score(tuned, around)
    # Compilation takes longer than such a training, and there are neither peers nor shards here.
    settings = {"epochs": epochs, "peak_lr": peak_lr, "workers": 1, "parallel": "ddp", "compile": False}
    config = around.experiment.train
    config = config.model_copy(update={**settings, "seed": config.seed + seed_offset})
    try:
        best = _best_of(copy.deepcopy(model), config, around, teacher, distil or DistilConfig())
    except Diverged as error:
        raise NotMade(error.told, "lower its peak_lr") from error
    except UserError as error:
        raise NotMade(error.message, error.hint) from error
    if best["model"]:
        tuned.load_state_dict(best["model"])
    return tuned, float(best["score"])


def validation_score(model: nn.Module, around: Around) -> float:
    """The score that decides, on the validation rows; NaN where there are none. Raises NotMade where it has none."""
    validation, facts = around.prepared.validation, around.prepared.facts
    if not len(validation):
        return math.nan
    quantile = around.experiment.train.loss.judged_quantile
    device = torch.device(around.device)
    scores = part_scores(copy.deepcopy(model).to(device), facts, validation, device, quantile)
    return _known(scores, around)


def _known(scores: Mapping[str, float], around: Around) -> float:
    """Of all scores the one that decides: without it no epoch would be better than another, nor a model."""
    score = scores.get(around.metric, math.nan)
    if math.isnan(score):
        known = [name for name, value in scores.items() if math.isfinite(value)]
        raise NotMade(
            f"the validation rows give no {around.metric}, by which it would be judged"
            f" (they give {', '.join(known) or 'no score at all'})",
            "set compress.metric to one of these, or give other validation rows",
        )
    return score


def plain_state(wrapped: nn.Module, plain: nn.Module) -> dict[str, Tensor]:
    """The weights of a model with parametrizations of `weight`, under the names of the same model without them."""
    known, state = plain.state_dict(), wrapped.state_dict()
    names = {name: name.replace("parametrizations.weight.original", "weight") for name in state}
    return {names[name]: tensor for name, tensor in state.items() if names[name] in known}


def _best_of(
    model: nn.Module, config: TrainConfig, around: Around, teacher: nn.Module | None, distil: DistilConfig
) -> dict[str, Any]:
    """The best epoch as a checkpoint has it: its score, and its weights, empty where it is the start."""
    prepared, device = around.prepared, torch.device(around.device)
    rows, _ = training_rows(config, prepared.facts, prepared.train)
    session = PlainSession(device=device)
    with deterministic(config):
        trainer = Trainer(
            config, model, prepared.facts, rows, prepared.validation, session, around.metric,
            code_path=around.code_path,
            wrap_loss=None if teacher is None else _taught(model, teacher, around, rows, distil),
        )  # fmt: skip
        if len(prepared.validation):
            scores = trainer.evaluate()
            _known({name.removeprefix("validation/"): value for name, value in scores.items()}, around)
            trainer.best.take(0, scores, is_judged=True)
        run_to_end(trainer, session)
    best: dict[str, Any] = trainer.checkpoint()["best"]
    return best


def _taught(
    model: nn.Module, teacher: nn.Module, around: Around, rows: Part | StreamPart, distil: DistilConfig
) -> Callable[[Loss], Loss]:
    task = around.prepared.facts.task
    token = float(token_weight(rows.target)) if task == "language_modelling" and isinstance(rows, Part) else 1.0
    beside = Teacher(teacher, torch.device(around.device))
    beside.stand_beside(model)
    return lambda own: TaughtLoss(own, beside, task, distil, token)
