"""What the parts shall hold in equal shares: the classes of the target, or bins of a numeric one.

Shape letters: N rows, K strata.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.config import DataConfig, SplitConfig
from training.data.labels import label_matrix
from training.data.table import Schema
from training.errors import DataError


@dataclass(frozen=True)
class Strata:
    """A stratum for each row."""

    ids: np.ndarray  # (N,) unsigned, 0 to K - 1, as narrow as they fit: NumPy sorts those in linear time
    names: tuple[str, ...]  # (K,)

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Rows (K,) of each stratum among these."""
        return np.bincount(self.ids[rows], minlength=len(self.names))


def strata_of(table: pa.Table, schema: Schema, data: DataConfig) -> Strata | None:
    """Classes, bins of a regression target, or rarest labels; None where there are too few rows for two, or texts."""
    column = table.column(schema.target)
    if schema.task == "classification":
        return class_strata(column, data.rename_labels)
    if schema.task == "language_modelling":
        return None
    min_count = max(int(np.ceil(1 / _smallest_share(data))), _rows_needed(data.split, data.test is not None))
    if schema.task == "multilabel":
        return label_strata(label_matrix(column, schema.labels, schema.target), schema.labels, min_count)
    values_N = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return bin_strata(values_N, data.split.bins, min_count)


def class_strata(column: pa.ChunkedArray, rename: dict[str, str]) -> Strata:
    """Classes in the order of their names as text. No value may be missing.

    Args:
        column: the target (N,), of any type that has a text form.
        rename: class -> the class it counts as.
    """
    codes_N, values = distinct_codes(column)
    texts = [rename.get(text, text) for text in values.cast(pa.string()).to_pylist()]
    names, ids = np.unique(np.array(texts, dtype=str), return_inverse=True)
    return Strata(_narrow(ids, len(names))[codes_N], tuple(names.tolist()))


def label_strata(target_NK: np.ndarray, labels: tuple[str, ...], min_count: int) -> Strata | None:
    """Rows by the rarest label that they have; None where fewer than two strata of `min_count` rows come about.

    Rows of the rarest labels together, and rows without any, are strata of their own where they are enough.

    Args:
        target_NK: 0 or 1 of each row and label.
        labels: their names.
        min_count: rows that each stratum holds at least.
    """
    rarity_K = np.argsort(np.argsort(target_NK.sum(axis=0), kind="stable"), kind="stable")
    rank_NK = np.where(target_NK > 0, rarity_K, len(labels))
    rarest_N = rank_NK.min(axis=1)  # in the order of rarity; len(labels) where there is none
    merged = _merge(np.bincount(rarest_N, minlength=len(labels) + 1), min_count)
    num_merged = int(merged[-1]) + 1
    if num_merged == 1:
        return None
    return Strata(_narrow(merged, num_merged)[rarest_N], tuple(f"labels {i}" for i in range(num_merged)))


def distinct_codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Codes (N,) int32 and the distinct values that they stand for. No value may be missing."""
    encoded = decoded(column).dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    assert not encoded.null_count
    return encoded.indices.to_numpy(), encoded.dictionary


def bin_strata(values_N: np.ndarray, num_bins: int, min_count: int) -> Strata | None:
    """Bins of about equal count, equal values in one bin; None where less than two bins of that size come about.

    Args:
        values_N: finite numbers.
        num_bins: at most so many.
        min_count: rows that each bin holds at least.
    """
    edges = np.unique(np.quantile(values_N, np.arange(1, num_bins) / num_bins))
    bins_N = np.searchsorted(edges, values_N, side="right")
    merged = _merge(np.bincount(bins_N, minlength=len(edges) + 1), min_count)
    num_merged = int(merged[-1]) + 1
    if num_merged == 1:
        return None
    return Strata(_narrow(merged, num_merged)[bins_N], tuple(f"bin {i}" for i in range(num_merged)))


def _merge(counts_K: np.ndarray, min_count: int) -> np.ndarray:
    """A new id for each bin, so that bins too small are joined to a neighbour."""
    merged = np.zeros(len(counts_K), dtype=np.int64)
    current = filled = 0
    for i, count in enumerate(counts_K.tolist()):
        if filled >= min_count:
            current, filled = current + 1, 0
        merged[i] = current
        filled += count
    if filled < min_count:
        merged[merged == current] = max(current - 1, 0)
    return merged


def _narrow(ids: np.ndarray, num: int) -> np.ndarray:
    return ids.astype(np.min_scalar_type(max(num - 1, 0)))


def _smallest_share(data: DataConfig) -> float:
    split = data.split
    shares = [1 / split.folds.count] if split.folds else [split.validation]
    if split.folds and split.folds.part == "test":
        shares.append(split.validation)
    elif not data.test:
        shares.append(split.test)
    return min(shares)


def require_rows_of_each(strata: Strata, split: SplitConfig, target: str, test_is_separate: bool) -> None:
    """Raise DataError where a class has too few rows to stand in every part."""
    needed = _rows_needed(split, test_is_separate)
    counts = strata.counts(np.arange(len(strata.ids)))
    rare = np.flatnonzero(counts < needed)
    if not len(rare):
        return
    listed = ", ".join(f"{strata.names[i]!r} ({counts[i]})" for i in rare[:5])
    folds = f" and fold of {split.folds.count}" if split.folds else ""
    raise DataError(
        f"classes of {target} with too few rows to stand in every part{folds} of the split: {listed}; "
        f"{needed} rows are needed",
        "add rows of these classes, join them to others with data.rename_labels, or set data.split.stratify: false",
    )


def _rows_needed(split: SplitConfig, test_is_separate: bool) -> int:
    if split.folds is None:
        return 2 if test_is_separate else 3
    count = split.folds.count
    if split.folds.part == "test":
        return 4 if count == 2 else count  # what a fold of two leaves must still stand in two parts
    return count if test_is_separate else count + 1


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionaries: chunks may differ in codes, and a null may stand in a dictionary itself."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def missing_places(column: pa.ChunkedArray) -> np.ndarray:
    """Places of null and NaN in a column without dictionaries."""
    return np.flatnonzero(pc.is_null(column, nan_is_null=True).to_numpy())
