"""One fold, trained in a worker's process. It loads no more than that takes: a worker's start is most of a small fold.

Shape letters: N rows of the fold, K classes or labels.
"""

import time
from typing import Any

import numpy as np
import torch

from training.alone import as_cause, predictions, train_alone
from training.config import Experiment
from training.cross_validation.record import FoldResult, Job
from training.data.folds import FoldTables
from training.data.split import Split
from training.errors import TrainingFailed
from training.learning_config import ImbalanceConfig
from training.metrics import held_out_scores

Outcome = tuple[FoldResult, np.ndarray, np.ndarray]  # result, target (N,), predictions (N, K) or (N,)


def fixed_threshold(config: ImbalanceConfig) -> float | None:
    """The threshold that the experiment names as a number; a goal is tuned for later, and would praise itself here."""
    return config.threshold if isinstance(config.threshold, float) else None


def train_fold(
    source: FoldTables, split: Split, written: dict[str, Any], job: Job, metric: str, code_path: str, device: str
) -> Outcome | str:
    """Train once on a fold's rows, prepared here and by themselves. A training's own error comes back as its text."""
    experiment = Experiment.model_validate(written)
    torch.set_num_threads(max(1, int(experiment.train.cpus_per_worker)))
    try:
        return _train(source, split, experiment, job, metric, code_path, torch.device(device))
    except Exception as error:  # told with the others; trying again at once would fail the same way
        return as_cause(error)


def _train(
    source: FoldTables, split: Split, experiment: Experiment, job: Job, metric: str, code_path: str,
    device: torch.device,
) -> Outcome:  # fmt: skip
    began = time.perf_counter()
    facts, train, held_out = source.encoded(split)
    trained = train_alone(
        experiment, facts, train, held_out, metric=metric, seed=experiment.train.seed + job.seed, device=device,
        code_path=code_path,
    )  # fmt: skip
    if not trained.best_epoch:
        raise TrainingFailed(
            f"validation/{metric} does not exist on the {len(held_out)} held-out rows",
            "set search.metric to another score, or ask for fewer folds",
        )
    scores = predictions(trained.model, facts, held_out, device)
    result = FoldResult(
        fold=job.fold,
        seed=job.seed,
        num_train_rows=len(train),
        num_held_out_rows=len(held_out),
        scores=held_out_scores(
            facts.task,
            scores,
            held_out.target,
            threshold=fixed_threshold(experiment.train.imbalance),
            quantile=experiment.train.loss.judged_quantile,
        ),
        epochs=trained.epochs,
        best_epoch=trained.best_epoch,
        seconds=round(time.perf_counter() - began, 3),
    )
    return result, held_out.target, scores
