"""What a table's columns are, and whether they are fit to learn from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.config import ColumnKind, DataConfig
from training.errors import DataError
from training.package.manifest import Task
from training.package.transforms import text_column

MAX_WHOLE_NUMBER_CLASSES = 30  # more distinct whole numbers than this are a quantity, not classes


@dataclass(frozen=True)
class Schema:
    """The columns a model learns from, and what it predicts."""

    features: dict[str, ColumnKind]  # in the table's order
    target: str
    task: Task
    labels: tuple[str, ...]  # empty for a regression


def infer_schema(table: pa.Table, data: DataConfig) -> Schema:
    """Decide kinds and task; refuse what cannot be learned from. Raises DataError with every problem found."""
    _require_columns(table, data)
    task = _task(table.column(data.target), data)
    features: dict[str, ColumnKind] = {}
    problems: list[str] = []
    for name in table.column_names:
        if name == data.target or name in data.ignore:
            continue
        kind, problem = _column_kind(name, table.column(name), data.columns.get(name))
        features[name] = kind
        if problem:
            problems.append(problem)
    if problems:
        raise DataError(
            "\n  ".join(["the table has columns that cannot be used", *problems]), "data.ignore leaves columns out"
        )
    if not features:
        raise DataError(f"no column is left beside the target {data.target}", "shorten data.ignore")
    target = table.column(data.target)
    _check_target(target, data, task)
    labels = _labels(target, data) if task == "classification" else ()
    return Schema(features, data.target, task, labels)


def _require_columns(table: pa.Table, data: DataConfig) -> None:
    have = set(table.column_names)
    for key, names in (("data.target", [data.target]), ("data.columns", data.columns), ("data.ignore", data.ignore)):
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


def _column_kind(name: str, column: pa.ChunkedArray, declared: ColumnKind | None) -> tuple[ColumnKind, str]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if column.null_count == len(column):
        return "numeric", f"{name}: every value is missing"
    is_number = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_number or is_text):
        return "categorical", f"{name}: type {kind} is neither a number nor text"
    if declared == "numeric" and not is_number:
        return "numeric", f"{name}: declared numeric, but holds text such as {_example(column)!r}"
    if is_number and declared != "categorical":
        return "numeric", _not_finite(name, column)
    return "categorical", ""


def _not_finite(name: str, column: pa.ChunkedArray) -> str:
    values = as_float32(column)
    infinite = np.isinf(values)
    if infinite.any():
        return (
            f"{name}: {infinite.sum()} infinite values (or beyond float32), the first in row {int(infinite.argmax())}"
        )
    return f"{name}: every value is NaN" if np.isnan(values).all() else ""


def _example(column: pa.ChunkedArray) -> str:
    return str(column.drop_null()[0].as_py())[:40]


def _check_target(target: pa.ChunkedArray, data: DataConfig, task: Task) -> None:
    if target.null_count:
        rows = np.flatnonzero(target.is_null().to_numpy())
        raise DataError(
            f"the target {data.target} is missing in {len(rows)} of {len(target)} rows, the first is row {rows[0]}",
            "remove these rows, or correct data.missing if the marker means something else there",
        )
    if task == "classification":
        return
    if not (pa.types.is_integer(target.type) or pa.types.is_floating(target.type) or pa.types.is_decimal(target.type)):
        raise DataError(
            f"data.task is regression, but the target {data.target} holds text such as {_example(target)!r}"
        )
    values = as_float32(target)
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"the target {data.target} is NaN or infinite in {bad.sum()} of {len(values)} rows, "
            f"the first is row {int(bad.argmax())}",
            "remove or correct these rows",
        )
    if values.min() == values.max():
        raise DataError(f"the target {data.target} is {values[0]:g} in every row; there is nothing to learn")


def _labels(target: pa.ChunkedArray, data: DataConfig) -> tuple[str, ...]:
    if pa.types.is_floating(target.type) and np.isnan(target.to_numpy()).any():
        raise DataError(f"the target {data.target} is NaN in some rows", "remove or correct these rows")
    texts = target_texts(target, data)
    counts = {str(value): int(count) for value, count in zip(*np.unique(texts, return_counts=True), strict=True)}
    needed = 2 if data.test else 3
    if len(counts) < 2:
        raise DataError(
            f"the target {data.target} has one class only ({next(iter(counts))}); there is nothing to learn"
        )
    if data.split.stratify and (rare := {label: count for label, count in counts.items() if count < needed}):
        listed = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:5])
        raise DataError(
            f"classes of {data.target} with too few rows to stand in every part of the split: {listed}; "
            f"{needed} rows are needed",
            "add rows of these classes, join them to others with data.rename_labels, or set data.split.stratify: false",
        )
    return tuple(sorted(counts, key=_natural))


def _natural(label: str) -> tuple[int, float, str]:
    """Sort 2 before 10, and numbers before text."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def target_texts(target: pa.ChunkedArray, data: DataConfig) -> np.ndarray:
    """Class names (N,) of a classification target, after `data.rename_labels`."""
    names = text_column(pa.table({"target": target}), "target")
    if data.rename_labels:
        names = np.array([data.rename_labels.get(name, name) for name in names], dtype=object)
    return names.astype(str)


def as_float32(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers (N,) as float32, NaN where missing, as serving sees them."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)


def fingerprint(tables: Sequence[pa.Table]) -> str:
    """Digest of names, types and every value, so that a run knows whether its data changed."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(table.schema.remove_metadata().serialize())
        for batch in table.combine_chunks().to_batches(max_chunksize=65536):
            digest.update(batch.serialize())
    return digest.hexdigest()[:32]
