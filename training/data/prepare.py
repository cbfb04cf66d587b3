"""From an experiment to tensors: read, check, split, fit transforms, apply them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig
from training.data.sources import read_table
from training.data.split import Split, split_rows
from training.data.table import Schema, as_float32, fingerprint, infer_schema, target_texts
from training.errors import DataError
from training.features import fit_transforms
from training.package.manifest import InputSpec, Task
from training.package.transforms import FeatureEncoder, Transforms, inputs_from_table


@dataclass(frozen=True)
class Part:
    """Rows ready for a model: tensors by name (N, ...), and the target (N,): int64 class ids or float32 values."""

    tensors: dict[str, np.ndarray]
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class Facts:
    """What models and loops must know of the data, without the data."""

    task: Task
    labels: tuple[str, ...]
    inputs: tuple[InputSpec, ...]
    transforms: Transforms
    target_mean: float  # a regression learns (value - mean) / scale
    target_scale: float
    fingerprint: str

    @property
    def num_outputs(self) -> int:
        """Logits of the model: one a class, or one for a regression."""
        return len(self.labels) if self.task == "classification" else 1


@dataclass(frozen=True)
class Prepared:
    """Everything the later stages need of the data."""

    facts: Facts
    split: Split
    train: Part
    validation: Part
    test: Part
    test_rows: pa.Table  # raw held-out rows, target included: golden rows and the HTTP check draw from them


def prepare(data: DataConfig, base: Path | None = None) -> Prepared:
    """Read, check, split, fit and apply. Raises DataError for anything that cannot be learned from."""
    table = read_table(data, base)
    schema = infer_schema(table, data)
    held_out = _read_test_source(data, schema, base) if data.test else None
    strata = target_texts(table.column(schema.target), data) if _stratified(schema, data) else None
    split = split_rows(table.num_rows, strata, data.split, held_out.num_rows if held_out is not None else None)
    test_rows = (held_out if held_out is not None else table).take(split.test)
    train_rows, validation_rows = table.take(split.train), table.take(split.validation)
    transforms, inputs = fit_transforms(train_rows, schema, data.image_shape, data.missing)
    mean, scale = _target_scale(train_rows, schema)
    facts = Facts(
        task=schema.task, labels=schema.labels, inputs=inputs, transforms=transforms, target_mean=mean,
        target_scale=scale, fingerprint=fingerprint([table] if held_out is None else [table, held_out]),
    )  # fmt: skip
    encoder = FeatureEncoder(transforms)

    def part(rows: pa.Table) -> Part:
        return Part(encoder(inputs_from_table(rows, inputs)), _encode_target(rows, schema, data))

    return Prepared(facts, split, part(train_rows), part(validation_rows), part(test_rows), test_rows)


def _stratified(schema: Schema, data: DataConfig) -> bool:
    return data.split.stratify and schema.task == "classification"


def _read_test_source(data: DataConfig, schema: Schema, base: Path | None) -> pa.Table:
    table = read_table(data, base, source=data.test)
    lacking = [name for name in [*schema.features, schema.target] if name not in table.column_names]
    if lacking:
        raise DataError(
            f"data.test {data.test} lacks the columns {', '.join(lacking)} of data.source",
            f"it has: {', '.join(table.column_names)}",
        )
    unsplit = data.split.model_copy(update={"stratify": False})  # it is not divided, so single rows of a class are fine
    as_trained = {"columns": schema.features, "task": schema.task, "split": unsplit, "source": data.test}
    test_schema = infer_schema(table, data.model_copy(update=as_trained))
    if unknown := [label for label in test_schema.labels if label not in schema.labels]:
        raise DataError(
            f"data.test has classes that data.source lacks: {', '.join(map(repr, unknown))}; known are "
            f"{', '.join(map(repr, schema.labels))}",
            "if they are spelled differently, data.rename_labels maps one to the other",
        )
    return table


def _target_scale(train_rows: pa.Table, schema: Schema) -> tuple[float, float]:
    if schema.task == "classification":
        return 0.0, 1.0
    values = as_float32(train_rows.column(schema.target)).astype(np.float64)
    return float(values.mean()), float(values.std()) or 1.0


def _encode_target(rows: pa.Table, schema: Schema, data: DataConfig) -> np.ndarray:
    column = rows.column(schema.target)
    if schema.task == "regression":
        return as_float32(column)
    ids = {label: i for i, label in enumerate(schema.labels)}
    return np.array([ids[str(text)] for text in target_texts(column, data)], dtype=np.int64)
