"""Other numbers of rows of each class, made before training and of training rows alone.

Shape letters: N rows, K classes, X columns that SMOTE sees.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from training.data.prepared import Part
from training.data.smote_table import SmoteTable
from training.errors import ConfigError, DataError
from training.learning_config import ImbalanceConfig
from training.package.fitted import Transforms

NEIGHBOURS = 5  # between a row and one of so many of its class the new ones lie, as in Chawla et al., JAIR 16 (2002)


def resample(
    part: Part, config: ImbalanceConfig, labels: Sequence[str], transforms: Transforms, seed: int
) -> tuple[Part, str]:
    """The training rows that `train.imbalance.resample` asks for, and a note of what was done; empty where nothing was.

    Args:
        part: training rows of a classification.
        config: how, and to which ratio of a class to the most common one.
        labels: classes by id.
        transforms: what the inputs stand for: SMOTE makes values between two numbers, but not between two categories.
        seed: of what is drawn.

    Raises:
        ConfigError: SMOTE of images or texts.
        DataError: SMOTE of a class of one row.
    """
    if config.resample is None:
        return part, ""
    counts_K = np.bincount(part.target, minlength=len(labels))
    wanted = _wanted(counts_K, config)
    match config.resample:
        case "oversample":
            changed = _taken(part, RandomOverSampler(sampling_strategy=wanted, random_state=seed))
        case "undersample":
            changed = _taken(part, RandomUnderSampler(sampling_strategy=wanted, random_state=seed))
        case "smote":
            changed = _with_made_rows(part, wanted, labels, transforms, seed)
    after_K = np.bincount(changed.target, minlength=len(labels))
    return changed, (
        f"train.imbalance.resample={config.resample}: {len(part):,} training rows became {len(changed):,} "
        f"({_told(counts_K, labels)} became {_told(after_K, labels)}); validation and test rows stay as they are"
    )


def _wanted(counts_K: np.ndarray, config: ImbalanceConfig) -> dict[int, int]:
    """Rows of each class that occurs."""
    there = counts_K[counts_K > 0]
    if config.resample == "undersample":
        most = max(int(there.min() / config.ratio), 1)
        return {int(k): int(min(counts_K[k], most)) for k in np.flatnonzero(counts_K)}
    least = round(int(there.max()) * config.ratio)
    return {int(k): int(max(counts_K[k], least)) for k in np.flatnonzero(counts_K)}


def _taken(part: Part, sampler: Any) -> Part:
    sampler.fit_resample(np.zeros((len(part), 1)), part.target)
    rows = np.sort(sampler.sample_indices_)
    return Part({name: values[rows] for name, values in part.tensors.items()}, part.target[rows])


def _with_made_rows(
    part: Part, wanted: dict[int, int], labels: Sequence[str], transforms: Transforms, seed: int
) -> Part:
    if others := sorted(set(part.tensors) - {"numeric", "categorical"}):
        raise ConfigError(
            f"train.imbalance.resample=smote makes rows of numbers and categories, and the model takes "
            f"{' and '.join(others)} too",
            "oversample and undersample work with any input, as do train.imbalance.sampling and class_weights",
        )
    counts_K = np.bincount(part.target, minlength=len(labels))
    table = SmoteTable.of(part.tensors, transforms)
    made_X, made_target = [], []
    for label_id, num_wanted in wanted.items():
        if num_wanted > counts_K[label_id]:
            rows = _made(table, part.target, label_id, num_wanted, labels, seed)
            made_X.append(rows)
            made_target.append(np.full(len(rows), label_id, dtype=part.target.dtype))
    if not made_X:
        return part
    made = table.tensors(np.concatenate(made_X))
    joined = {name: np.concatenate([values, made[name]]) for name, values in part.tensors.items()}
    return Part(joined, np.concatenate([part.target, *made_target]))


def _made(
    table: SmoteTable, target_N: np.ndarray, label_id: int, num_wanted: int, labels: Sequence[str], seed: int
) -> np.ndarray:
    """New rows of one class."""
    num_rows = int((target_N == label_id).sum())
    if num_rows < 2:
        raise DataError(
            f"train.imbalance.resample=smote needs two rows of a class to make others between them; "
            f"{labels[label_id]!r} has {num_rows} training row of {len(target_N)}",
            "use oversample, add rows of it, or join it to another class with data.rename_labels",
        )
    settings = {"sampling_strategy": {label_id: num_wanted}, "k_neighbors": min(NEIGHBOURS, num_rows - 1)}
    sampler = _sampler(table.is_category_X, settings | {"random_state": seed})
    rows_NX, _ = sampler.fit_resample(table.values_NX, target_N)
    return rows_NX[len(target_N) :]  # the rows that there were come first


def _sampler(is_category_X: np.ndarray, settings: dict[str, Any]) -> Any:
    if not is_category_X.any():
        return SMOTE(**settings)
    if is_category_X.all():
        return SMOTEN(**settings)
    return SMOTENC(categorical_features=np.flatnonzero(is_category_X).tolist(), **settings)


def _told(counts_K: np.ndarray, labels: Sequence[str], most: int = 5) -> str:
    """The counts, the rarest classes first."""
    order = np.argsort(counts_K, kind="stable")
    shown = ", ".join(f"{counts_K[k]:,} {labels[k]}" for k in order[:most])
    return shown + (f" and {len(order) - most} other classes" if len(order) > most else "")
