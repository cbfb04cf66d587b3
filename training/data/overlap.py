"""Training rows that stand in validation or test too: a score on them would praise a good memory.

Shape letters: N rows of training, M of another part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig
from training.data.fingerprint import row_hashes
from training.data.labels import joined_texts
from training.data.table import Schema, encode_target
from training.errors import DataError


@dataclass(frozen=True)
class Overlap:
    """What became of the training rows that stand in other parts."""

    kept: np.ndarray  # positions of the training rows to learn from, in order
    counts: dict[str, int]  # by part: training rows that stand in it
    num_rows: int  # training rows that stand in any of them
    note: str  # empty where there are none


def part_hashes(table: pa.Table, schema: Schema, data: DataConfig) -> np.ndarray:
    """Row hashes (N,) of features and target, labels as they are after `data.rename_labels`."""
    column = table.column(schema.target)
    if schema.task == "language_modelling":
        return row_hashes(pa.table({schema.target: column}))
    target = joined_texts(column) if schema.task == "multilabel" else pa.array(encode_target(table, schema, data))
    return row_hashes(table.select(list(schema.features)).append_column(schema.target, target))


def settle_overlap(
    train_N: np.ndarray, others: Mapping[str, np.ndarray], policy: Literal["note", "drop", "refuse"]
) -> Overlap:
    """Count the training rows that stand in other parts, and leave them out where asked.

    Args:
        train_N: `part_hashes` of the training rows.
        others: those of the other parts (M,), by name.
        policy: `data.checks.overlap`.

    Raises:
        DataError: there are some, and the policy refuses them.
    """
    is_in = {part: np.isin(train_N, hashes_M) for part, hashes_M in others.items()}
    counts = {part: int(is_in_N.sum()) for part, is_in_N in is_in.items()}
    is_twice_N = np.logical_or.reduce([*is_in.values(), np.zeros(len(train_N), dtype=bool)])
    num_rows = int(is_twice_N.sum())
    if num_rows == 0:
        return Overlap(np.arange(len(train_N)), counts, 0, "")
    where = ", ".join(f"{count:,} in {part}" for part, count in counts.items() if count)
    said = f"{num_rows:,} of {len(train_N):,} training rows are equal to rows that are held out ({where})"
    if policy == "refuse":
        raise DataError(
            said,
            "data.checks.overlap: drop leaves them out of training, note only counts them; where equal rows belong "
            "together, data.split.kind: group keeps them on one side",
        )
    if policy == "drop" and num_rows == len(train_N):
        raise DataError(
            f"{said}: nothing is left to learn from", "hold out other rows, or set data.checks.overlap: note"
        )
    kept = np.flatnonzero(~is_twice_N) if policy == "drop" else np.arange(len(train_N))
    return Overlap(kept, counts, num_rows, f"{said}, and are {'left out of training' if policy == 'drop' else 'kept'}")
