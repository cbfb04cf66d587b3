"""Whether a separate source of held-out rows can be judged by a model of the main one."""

import pyarrow as pa

from training.data.config import DataConfig
from training.data.table import Schema, infer_schema
from training.errors import DataError


def require_held_out_fits(table: pa.Table, schema: Schema, data: DataConfig) -> None:
    """Raise DataError where `data.test` lacks columns, holds other kinds of values, or classes that nothing learns.

    Args:
        table: rows of `data.test`, checked.
        schema: of the main source.
        data: how both were read.
    """
    if lacking := [name for name in [*schema.features, schema.target] if name not in table.column_names]:
        raise DataError(
            f"data.test {data.test} lacks the columns {', '.join(lacking)} of data.source",
            f"it has: {', '.join(table.column_names)}",
        )
    unsplit = data.split.model_copy(update={"stratify": False})  # it is not divided, so single rows of a class are fine
    ignored = set(table.column_names) - {*schema.features, schema.target}
    as_trained = {
        "columns": {**schema.features, **data.columns}, "task": schema.task, "split": unsplit, "source": data.test,
        "positive_label": None, "ignore": tuple(ignored),
    }  # fmt: skip
    try:
        test_schema = infer_schema(table, data.model_copy(update=as_trained))
    except DataError as error:
        raise DataError(f"data.test {data.test}, read as data.source was: {error.message}", error.hint) from error
    if unknown := [label for label in test_schema.labels if label not in schema.labels]:
        raise DataError(
            f"data.test has classes that data.source lacks: {', '.join(map(repr, unknown))}; known are "
            f"{', '.join(map(repr, schema.labels))}",
            "if they are spelled differently, data.rename_labels maps one to the other",
        )
