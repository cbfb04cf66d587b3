"""Features that give away the target: written from it, or known only once it is.

Each feature alone predicts the target of rows that it was not fitted on; a near-perfect score of one column is hardly
ever skill. Categories predict by the rows that share them, so a name of each row predicts nothing.

Shape letters: N rows, C categories, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from sklearn import config_context
from sklearn.metrics import r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from training.data.column_checks import FLOAT32_MAX, as_numbers, is_number
from training.data.config import DataConfig
from training.data.fingerprint import row_hashes
from training.data.labels import label_matrix
from training.data.table import Schema, target_texts
from training.errors import DataError

MIN_ROWS = 100  # with fewer, one column of many separates the classes by chance
MAX_ROWS = 10_000
FIRST_ROWS = 1_000  # a first look, that most columns end with
ROWS_A_CLASS = 20  # that a first look needs
FIRST_SLACK = 0.1  # a first score so far below a leak's ends the matter
MAX_LABELS = 20  # of several a row, looked at one by one
NUM_FOLDS = 3
SEED = 0


@dataclass(frozen=True)
class Leak:
    """A column that predicts the target without error, or nearly so."""

    column: str
    score: float  # on rows that it was not fitted on
    metric: str  # balanced accuracy; or R2, of the values or of their ranks
    is_copy: bool  # equal to the target in every row looked at


def find_leaks(table: pa.Table, schema: Schema, data: DataConfig, rows: np.ndarray | None = None) -> list[Leak]:
    """Features whose own score reaches `data.checks.leak_score`; of fewer than 100 rows, and of images, none.

    Args:
        table: the checked table; no more than 10,000 of its rows are looked at.
        schema: its features and target.
        data: which score is a leak's.
        rows: places of the training rows; all by default.
    """
    rows = np.arange(table.num_rows) if rows is None else rows
    if len(rows) < MIN_ROWS or schema.task == "language_modelling":
        return []
    if schema.task == "multilabel":
        return _leaks_of_labels(table, schema, data, rows)
    names = [name for name, kind in schema.features.items() if _is_judged(kind, table.schema.field(name).type, data)]
    rows_N, folds_N = _sample(table.column(schema.target), rows, schema.task)
    sample = table.select([*names, schema.target]).take(pa.array(rows_N))
    target = _target(sample.column(schema.target), schema, data)
    with config_context(skip_parameter_validation=True):  # which takes longer than a small tree
        scores = {name: _score(sample.column(name), target, folds_N, data.checks.leak_score) for name in names}
    copied_N = _values(sample.column(schema.target))
    return [
        Leak(name, score, target.metric, is_copy=bool((_values(sample.column(name)) == copied_N).all()))
        for name, score in scores.items()
        if score >= data.checks.leak_score
    ]


def _leaks_of_labels(table: pa.Table, schema: Schema, data: DataConfig, rows: np.ndarray) -> list[Leak]:
    """Of any label by itself; the first ones where there are many. A label of fewer than 20 rows proves nothing."""
    found: dict[str, Leak] = {}
    matrix_NK = label_matrix(table.column(schema.target), schema.labels, schema.target)
    place = table.column_names.index(schema.target)
    for index in range(min(len(schema.labels), MAX_LABELS)):
        has_N = matrix_NK[:, index].astype(np.int64)
        if min(has_N[rows].sum(), len(rows) - has_N[rows].sum()) < ROWS_A_CLASS:
            continue
        alone = table.set_column(place, schema.target, pa.array(has_N))
        as_classes = replace(schema, task="classification", labels=("0", "1"))
        for leak in find_leaks(alone, as_classes, data.model_copy(update={"rename_labels": {}}), rows):
            found.setdefault(leak.column, leak)
    return list(found.values())


def settle_leaks(leaks: Iterable[Leak], policy: Literal["note", "refuse"]) -> tuple[str, ...]:
    """A note for each leak. Raises DataError, naming all of them, where `data.checks.leaks` refuses them."""
    leaks = list(leaks)
    if policy == "refuse" and leaks:
        names = ", ".join(leak.column for leak in leaks)
        raise DataError(
            "\n  ".join(["single columns give away the target", *map(_words, leaks)]),
            f"data.ignore: [{names}] leaves out what is not known before the target is; "
            "data.checks.leaks: note learns from it all the same",
        )
    return tuple(f"{_words(leak)}: it may not be known before the target is" for leak in leaks)


def _words(leak: Leak) -> str:
    if leak.is_copy:
        return f"{leak.column} is equal to the target"
    return f"{leak.column} alone predicts it with a {leak.metric} of {leak.score:.4f} on rows not fitted on"


@dataclass(frozen=True)
class _Target:
    """What is predicted: class numbers or values (N,)."""

    values_N: np.ndarray
    num_classes: int  # 0 for a regression

    @property
    def metric(self) -> str:
        return "balanced accuracy" if self.num_classes else "R2"


@dataclass(frozen=True)
class _Feature:
    """What predicts: category numbers, or float32 with NaN where missing (N,)."""

    values_N: np.ndarray
    num_categories: int  # 0 for a number


def _is_judged(kind: str, held: pa.DataType, data: DataConfig) -> bool:
    is_pixel = data.image_shape is not None and kind == "numeric"
    return kind != "image" and not is_pixel and not pa.types.is_nested(held)


def _sample(target: pa.ChunkedArray, rows: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows to look at, and the fold of each: few enough to be quick, with as many of each class as there can be."""
    most = MAX_ROWS if task == "regression" else 20 * MAX_ROWS
    rows_N = np.random.default_rng(SEED).choice(rows, min(most, len(rows)), replace=False)
    if task == "regression":
        return rows_N, np.arange(len(rows_N)) % NUM_FOLDS
    classes_N = np.unique(_values(target.take(pa.array(rows_N))), return_inverse=True)[1]
    by_class = np.argsort(classes_N, kind="stable")
    counts_K = np.bincount(classes_N)
    places_N = np.empty_like(rows_N)  # of a row among those of its class
    places_N[by_class] = np.arange(len(rows_N)) - np.repeat(np.cumsum(counts_K) - counts_K, counts_K)
    chosen = np.argsort(places_N, kind="stable")[:MAX_ROWS]  # a first look at its beginning sees every class
    return rows_N[chosen], places_N[chosen] % NUM_FOLDS


def _values(column: pa.ChunkedArray) -> np.ndarray:
    return row_hashes(pa.table({"": column}))


def _target(column: pa.ChunkedArray, schema: Schema, data: DataConfig) -> _Target:
    if schema.task == "regression":
        return _Target(as_numbers(column), 0)
    labels, values_N = np.unique(target_texts(column, data), return_inverse=True)
    return _Target(values_N, len(labels))


def _coded(column: pa.ChunkedArray) -> _Feature:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int64() if column.type.bit_width == 64 else pa.int32())
    if is_number(column) or pa.types.is_boolean(column.type):
        return _Feature(_centred(as_numbers(column)), 0)
    distinct, codes_N = np.unique(_values(column), return_inverse=True)
    return _Feature(codes_N, len(distinct))


def _centred(numbers_N: np.ndarray) -> np.ndarray:
    """As trees hold numbers: in float32, in which times of one year would fall together, and 1e39 is infinite."""
    known_N = numbers_N[~np.isnan(numbers_N)]
    with np.errstate(over="ignore", invalid="ignore"):
        centred_N = numbers_N - np.median(known_N) if len(known_N) else numbers_N
    return np.clip(centred_N, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)


def _score(column: pa.ChunkedArray, target: _Target, folds_N: np.ndarray, leak_score: float) -> float:
    """The score on held-out rows of all folds; of a first look, where that is far from a leak's."""
    if ROWS_A_CLASS * target.num_classes <= FIRST_ROWS < len(column):
        some = slice(0, FIRST_ROWS)
        first = _Target(target.values_N[some], target.num_classes)
        score = _held_out_score(_coded(column[some]), first, folds_N[some], num_folds=1)
        if score < leak_score - FIRST_SLACK:
            return score
    return _held_out_score(_coded(column), target, folds_N, NUM_FOLDS)


def _held_out_score(feature: _Feature, target: _Target, folds_N: np.ndarray, num_folds: int) -> float:
    is_judged_N = folds_N < num_folds
    if target.num_classes:
        predicted_N = _predicted(feature, target, folds_N, num_folds)
        true_N, predicted_N = target.values_N[is_judged_N], predicted_N[is_judged_N]
        counts_K = np.bincount(true_N, minlength=target.num_classes)
        hits_K = np.bincount(true_N[true_N == predicted_N], minlength=target.num_classes)
        return float((hits_K[counts_K > 0] / counts_K[counts_K > 0]).mean())
    # Ranks too: of values over many magnitudes the largest decide R2, and nothing near them was fitted on.
    ranked = _Target(np.unique(target.values_N, return_inverse=True)[1].astype(float), 0)
    scores = [
        r2_score(held.values_N[is_judged_N], _predicted(feature, held, folds_N, num_folds)[is_judged_N])
        for held in (target, ranked)
    ]
    return float(max(scores))


def _predicted(feature: _Feature, target: _Target, folds_N: np.ndarray, num_folds: int) -> np.ndarray:
    """Predictions (N,) for the rows of the first folds, each by the rows of all other folds."""
    predict = _by_category if feature.num_categories else _by_tree
    predicted_N = np.zeros(len(folds_N), target.values_N.dtype)
    for fold in range(num_folds):
        is_held_N = folds_N == fold
        predicted_N[is_held_N] = predict(feature, target, is_held_N)
    return predicted_N


def _by_tree(feature: _Feature, target: _Target, is_held_N: np.ndarray) -> np.ndarray:
    tree = (DecisionTreeClassifier if target.num_classes else DecisionTreeRegressor)(random_state=SEED)
    column_N1, values_N = feature.values_N[:, None], target.values_N[~is_held_N]
    weights_N = 1 / np.bincount(values_N)[values_N] if target.num_classes else None  # a rare class counts as much
    return tree.fit(column_N1[~is_held_N], values_N, sample_weight=weights_N).predict(column_N1[is_held_N])


def _by_category(feature: _Feature, target: _Target, is_held_N: np.ndarray) -> np.ndarray:
    """The class that a category tells of most, or its mean; of all rows for one that was not seen."""
    codes_N, values_N = feature.values_N[~is_held_N], target.values_N[~is_held_N]
    if target.num_classes:
        shape = feature.num_categories, target.num_classes
        counts_CK = np.bincount(codes_N * shape[1] + values_N, minlength=shape[0] * shape[1]).reshape(shape)
        totals_K = np.bincount(values_N, minlength=shape[1])
        weighted_CK = counts_CK / np.maximum(totals_K, 1)
        by_code = np.where(counts_CK.any(axis=1), weighted_CK.argmax(axis=1), totals_K.argmax())
    else:
        counts = np.bincount(codes_N, minlength=feature.num_categories)
        sums = np.bincount(codes_N, values_N, minlength=feature.num_categories)
        by_code = np.where(counts > 0, sums / np.maximum(counts, 1), values_N.mean())
    return by_code[feature.values_N[is_held_N]]
