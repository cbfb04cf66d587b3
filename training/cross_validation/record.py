"""The record of a cross-validation in a run's folder. No torch, no ray: the page and the text read it anywhere."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import ConfigError, StorageError
from training.evaluation.folds import METHOD, FoldSpread, fold_spread
from training.metric_names import METRIC_MODES, Mode, range_of
from training.package.manifest import Task
from training.package.shapes import StoredModel

RECORD_FILE = "cross_validation.json"
MAX_FOLDS = 1000


@dataclass(frozen=True)
class FoldsPlan:
    """How many folds, and how many trainings of each. Raises ConfigError for numbers that make no sense."""

    num_folds: int
    num_seeds: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.num_folds <= MAX_FOLDS:
            raise ConfigError(
                f"folds is {self.num_folds}, must be 2 to {MAX_FOLDS}: each is held out once, and the others train",
                "5 and 10 are common",
            )
        if self.num_seeds < 1:
            raise ConfigError(f"seeds is {self.num_seeds}, must be at least 1", "3 show how much the seed matters")


@dataclass(frozen=True, order=True)
class Job:
    """One training to make."""

    fold: int  # from 0
    seed: int  # added to `train.seed`, from 0


class FoldResult(StoredModel):
    """One training of one fold."""

    fold: int
    seed: int  # added to `train.seed`
    num_train_rows: int
    num_held_out_rows: int
    scores: dict[str, float]  # on the held-out rows, without a prefix
    epochs: int
    best_epoch: int
    seconds: float


class Refit(StoredModel):
    """The training on all rows that follows the folds."""

    epochs: int  # the median of the folds' best epochs
    num_rows: int
    scores: dict[str, float]  # on the test part, which no fold and no choice has seen
    threshold: float | None = None  # tuned on the out-of-fold predictions, where `train.imbalance.threshold` asks
    checkpoint: str
    seconds: float


class CrossValidation(StoredModel):
    """What `cross_validation.json` holds."""

    name: str
    metric: str  # the one that decides, without its prefix
    mode: Mode
    task: Task
    kind: str  # of `data.split`
    by: str | None  # the column it goes by
    fingerprint: str  # of the data
    num_folds: int
    num_seeds: int
    folds: tuple[FoldResult, ...]  # by fold, then seed
    interval: str = METHOD
    scores: dict[str, FoldSpread]  # over the folds
    out_of_fold: dict[str, float]  # of all out-of-fold predictions together, averaged over seeds
    num_out_of_fold_rows: int
    num_rows: int  # of training and validation together
    refit: Refit | None = None

    @property
    def spread(self) -> FoldSpread | None:
        """Of the deciding score; None where no fold has it."""
        return self.scores.get(self.metric)


def spreads(results: Sequence[FoldResult]) -> dict[str, FoldSpread]:
    """Every score that some fold has: seeds averaged within a fold first, then folds with their interval."""
    by_fold: dict[int, list[FoldResult]] = {}
    for result in results:
        by_fold.setdefault(result.fold, []).append(result)
    share = float(np.mean([fold[0].num_held_out_rows / fold[0].num_train_rows for fold in by_fold.values()]))
    found: dict[str, FoldSpread] = {}
    for name in dict.fromkeys(name for result in results for name in result.scores):
        having = [fold for fold in by_fold.values() if all(name in result.scores for result in fold)]
        if having:
            values_K = np.array([np.mean([result.scores[name] for result in fold]) for fold in having])
            found[name] = fold_spread(values_K, share, range_of(name) if name in METRIC_MODES else (-np.inf, np.inf))
    return found


def refit_epochs(results: Sequence[FoldResult]) -> int:
    """The median of the best epochs, rounded up."""
    return math.ceil(np.median([result.best_epoch for result in results]))


def read_cross_validation(folder: Path) -> CrossValidation | None:
    """That of a run's folder, None where there is none. Raises StorageError for a file that is not one."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        return CrossValidation.model_validate(json.loads(path.read_text()))
    except ValueError as error:
        raise StorageError(f"{path} is not a cross-validation: {str(error)[:200]}", f"remove {path}") from error
