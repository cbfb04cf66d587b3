"""What a table's columns are, and whether they are fit to learn from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.column_config import ColumnKind
from training.data.config import DataConfig
from training.data.kinds import kind_of, many_values
from training.data.labels import label_matrix, labels_of, require_labels
from training.errors import DataError
from training.package.images import is_encoded
from training.package.manifest import Task
from training.package.values import arrow_texts, distinct_texts, numeric_column

MAX_WHOLE_NUMBER_CLASSES = 30  # more distinct whole numbers than this are a quantity, not classes
MIN_SUSPECT_CLASSES = 20  # so many classes with fewer than two rows each are none


@dataclass(frozen=True)
class Schema:
    """The columns a model learns from, and what it predicts."""

    features: dict[str, ColumnKind]  # in the table's order
    target: str
    task: Task
    labels: tuple[str, ...]  # empty for a regression; else a positive_label comes last
    notes: tuple[str, ...] = ()  # what a person should know of the columns


def infer_schema(table: pa.Table, data: DataConfig) -> Schema:
    """Decide kinds and task; refuse what cannot be learned from. Raises DataError with every problem found."""
    _require_columns(table, data)
    task = _task(table.column(data.target_name), data)
    features, problems = _kinds(table, data)
    if problems:
        raise DataError(
            "\n  ".join(["the table has columns that cannot be used", *problems]), "data.ignore leaves columns out"
        )
    if not features and task != "language_modelling":
        raise DataError(f"no column is left beside the target {data.target_name}", "shorten data.ignore")
    _require_one_image(features)
    notes = _notes(table, features, data)
    target = table.column(data.target_name)
    _check_target(target, data, task)
    labels = _labels_of(target, data, task)
    if task == "regression" and data.positive_label is not None:
        raise DataError(
            f"data.positive_label is {data.positive_label!r}, but the target {data.target_name} is a number to predict",
            "data.task: classification, or leave data.positive_label out",
        )
    return Schema(features, data.target_name, task, labels, notes)


def _labels_of(target: pa.ChunkedArray, data: DataConfig, task: Task) -> tuple[str, ...]:
    if task == "classification":
        return _labels(target, data)
    if task != "multilabel":
        return ()
    labels, counts_K = labels_of(target)
    counts = dict.fromkeys(sorted(data.target), 0) if isinstance(data.target, tuple) else {}
    counts |= dict(zip(labels, counts_K.tolist(), strict=True))
    require_labels(counts, len(target), data)
    return tuple(sorted(counts))


def _kinds(table: pa.Table, data: DataConfig) -> tuple[dict[str, ColumnKind], list[str]]:
    features: dict[str, ColumnKind] = {}
    problems: list[str] = []
    if data.task == "language_modelling":  # its text is all that a language model reads
        return features, problems
    for name in table.column_names:
        if name == data.target_name or name in data.ignore or _is_place(name, table, data):
            continue
        features[name], problem = kind_of(name, table.column(name), data)
        if problem:
            problems.append(problem)
    return features, problems


def _is_place(name: str, table: pa.Table, data: DataConfig) -> bool:
    """The path beside an image file names its row, and often its class: no feature, unless it is declared one."""
    files = [field.name for field in table.schema if is_encoded(field.type) and field.name not in data.ignore]
    return name == "path" and bool(files) and name not in data.columns


def _require_one_image(features: Mapping[str, ColumnKind]) -> None:
    if len(images := [name for name, kind in features.items() if kind == "image"]) > 1:
        raise DataError(
            f"{len(images)} columns hold images ({', '.join(images)}), and a model takes one",
            f"data.ignore: [{', '.join(images[1:])}]",
        )


def _notes(table: pa.Table, features: Mapping[str, ColumnKind], data: DataConfig) -> tuple[str, ...]:
    """Of columns with many values. Raises DataError where most rows of one would be unknown to the model."""
    notes, problems = [], []
    for name, kind in features.items():
        if kind == "categorical":
            problem, note = many_values(name, table.column(name), data)
            problems += [problem] if problem else []
            notes += [note] if note else []
    if problems:
        raise DataError("\n".join(said for said, _ in problems), "\n".join(hint for _, hint in problems))
    return tuple(notes)


def _require_columns(table: pa.Table, data: DataConfig) -> None:
    have = set(table.column_names)
    by = [data.split.by] if data.split.by is not None and data.source != data.test else []
    for key, names in (
        ("data.target", [data.target_name]),
        ("data.split.by", by),
        ("data.columns", data.columns),
        ("data.ignore", data.ignore),
    ):
        if lacking := [name for name in names if name not in have]:
            raise DataError(
                f"{key} names {', '.join(lacking)}, but {data.source} has no such column",
                f"columns: {', '.join(table.column_names)}",
            )


def _task(target: pa.ChunkedArray, data: DataConfig) -> Task:
    if data.task != "auto":
        return data.task
    kind = target.type
    if pa.types.is_integer(kind):
        return "classification" if pc.count_distinct(target).as_py() <= MAX_WHOLE_NUMBER_CLASSES else "regression"
    return "regression" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "classification"


def _example(column: pa.ChunkedArray) -> str:
    return str(column.drop_null()[0].as_py())[:40]


def _check_target(target: pa.ChunkedArray, data: DataConfig, task: Task) -> None:
    if target.null_count:
        rows = np.flatnonzero(target.is_null().to_numpy())
        raise DataError(
            f"the target {data.target_name} is missing in {len(rows)} of {len(target)} rows, the first is row "
            f"{rows[0]}",
            "remove these rows, or correct data.missing if the marker means something else there",
        )
    if task == "language_modelling":
        _require_texts(target, data)
    if task != "regression":
        return
    if not (pa.types.is_integer(target.type) or pa.types.is_floating(target.type) or pa.types.is_decimal(target.type)):
        raise DataError(
            f"data.task is regression, but the target {data.target_name} holds text such as {_example(target)!r}"
        )
    values = as_float32(target)
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"the target {data.target_name} is NaN or infinite in {bad.sum()} of {len(values)} rows, "
            f"the first is row {int(bad.argmax())}",
            "remove or correct these rows",
        )
    if values.min() == values.max():
        raise DataError(f"the target {data.target_name} is {values[0]:g} in every row; there is nothing to learn")


def _require_texts(column: pa.ChunkedArray, data: DataConfig) -> None:
    """Raise DataError where the target of a language model holds no text."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DataError(
            f"data.task is language_modelling, but the target {data.target_name} is of type {column.type}",
            "data.target names the column of texts",
        )


def _labels(target: pa.ChunkedArray, data: DataConfig) -> tuple[str, ...]:
    if pa.types.is_floating(target.type) and np.isnan(target.to_numpy()).any():
        raise DataError(f"the target {data.target_name} is NaN in some rows", "remove or correct these rows")
    names, index_N = _target_names(target, data)
    counts: dict[str, int] = {}
    for name, count in zip(names, np.bincount(index_N, minlength=len(names)).tolist(), strict=True):
        counts[name] = counts.get(name, 0) + count  # `rename_labels` may have made two of them one
    needed = 2 if data.test else 3
    if len(counts) < 2:
        raise DataError(
            f"the target {data.target_name} has one class only ({next(iter(counts))}); there is nothing to learn"
        )
    is_whole = data.source != data.test  # a few held-out rows may well have a class each
    if is_whole and len(counts) > MIN_SUSPECT_CLASSES and 2 * len(counts) > len(target):
        raise DataError(
            f"the target {data.target_name} has {len(counts):,} classes in {len(target):,} rows: it looks like an "
            "amount or an id, not like classes",
            "data.task: regression predicts an amount; else data.target should name another column",
        )
    if data.split.stratify and (rare := {label: count for label, count in counts.items() if count < needed}):
        listed = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:5])
        raise DataError(
            f"classes of {data.target_name} with too few rows to stand in every part of the split: {listed}; "
            f"{needed} rows are needed",
            "add rows of these classes, join them to others with data.rename_labels, or set data.split.stratify: false",
        )
    return _ordered(tuple(sorted(counts, key=_natural)), data)


def _ordered(labels: tuple[str, ...], data: DataConfig) -> tuple[str, ...]:
    """The positive label last: the scores of two classes are those of the last."""
    positive = data.positive_label
    if positive is None:
        return labels
    if positive not in labels or len(labels) != 2:
        raise DataError(
            f"data.positive_label is {positive!r}, must be one of two classes; the target {data.target_name} has "
            f"{len(labels)}: {', '.join(map(repr, labels[:8]))}",
            "data.rename_labels joins classes to two" if len(labels) > 2 else "",
        )
    return (*(label for label in labels if label != positive), positive)


def _natural(label: str) -> tuple[int, float, str]:
    """Sort 2 before 10, and numbers before text."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def target_texts(target: pa.ChunkedArray, data: DataConfig) -> np.ndarray:
    """Class names (N,) of a classification target, after `data.rename_labels`."""
    names, index_N = _target_names(target, data)
    return np.array(names, dtype=str)[index_N]


def class_ids(target: pa.ChunkedArray, labels: tuple[str, ...], data: DataConfig) -> np.ndarray:
    """Place of each row's class among the labels (N,) int64. Raises KeyError for a class that is not one of them."""
    names, index_N = _target_names(target, data)
    ids = {label: i for i, label in enumerate(labels)}
    return np.array([ids[name] for name in names], dtype=np.int64)[index_N]


def encode_target(rows: pa.Table, schema: Schema, data: DataConfig) -> np.ndarray:
    """What is to be predicted: int64 class ids (N,), float32 values (N,), or 0 and 1 of each label (N, K) float32."""
    target = rows.column(schema.target)
    if schema.task == "multilabel":
        return label_matrix(target, schema.labels, schema.target)
    return as_float32(target) if schema.task == "regression" else class_ids(target, schema.labels, data)


def target_scale(target_N: np.ndarray, task: Task) -> tuple[float, float]:
    """Mean and scale of a regression's training target; 0 and 1 for classes."""
    if task != "regression":
        return 0.0, 1.0
    return float(target_N.mean(dtype=np.float64)), float(target_N.std(dtype=np.float64)) or 1.0


def _target_names(target: pa.ChunkedArray, data: DataConfig) -> tuple[list[str], np.ndarray]:
    """Class names, and which of them each row (N,) has. A name may stand twice."""
    texts, index_N = distinct_texts(arrow_texts(target))
    return [str(data.rename_labels.get(str(text), text)) for text in texts], index_N


def as_float32(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers (N,) as float32, NaN where missing, as serving sees them."""
    return numeric_column(column)
