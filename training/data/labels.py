"""The target of several labels a row: however it is written, one column of lists of text.

Shape letters: N rows, K labels, M labels of all rows together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.config import DataConfig
from training.errors import DataError
from training.package.values import arrow_texts, distinct_texts

MAX_NAMED = 8


def with_labels(table: pa.Table, data: DataConfig) -> pa.Table:
    """The table with its target as one column of lists of text, `data.target_name`; of other tasks as it is.

    Several columns of 0 and 1 become the list of those that are 1. Text is cut at `data.label_separator`; an empty or
    missing one is a row without labels. `data.rename_labels` is applied, and a label counts once a row.

    Raises:
        DataError: a column that is not there, that holds something else than 0 and 1, or no lists and no text to cut.
    """
    if data.task != "multilabel" or _is_done(table, data):
        return table
    have = set(table.column_names)
    if lacking := [name for name in data.targets if name not in have]:
        raise DataError(
            f"data.target names {', '.join(lacking)}, but {data.source} has no such column",
            f"columns: {', '.join(table.column_names)}",
        )
    place = table.column_names.index(data.targets[0])
    lists = _of_columns(table, data) if isinstance(data.target, tuple) else _of_one(table.column(data.target), data)
    rest = table.drop_columns(list(data.targets))
    return rest.add_column(min(place, rest.num_columns), data.target_name, lists)


def labels_of(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """The labels that rows have, sorted, and how many rows have each (K,)."""
    texts, index_M = distinct_texts(_flat(column))
    counts = np.bincount(index_M, minlength=len(texts))
    names = [str(text) for text in texts]
    order = sorted(range(len(names)), key=names.__getitem__)
    return tuple(names[i] for i in order), counts[order]


def label_matrix(column: pa.ChunkedArray, labels: Sequence[str], target: str) -> np.ndarray:
    """Which labels each row has, float32 (N, K) of 0 and 1. Raises DataError for one that is not among them."""
    texts, index_M = distinct_texts(_flat(column))
    ids = {label: i for i, label in enumerate(labels)}
    if unknown := sorted(str(text) for text in texts if text not in ids):
        raise DataError(
            f"the target {target} has labels that the model does not know: {_listed(unknown)}; it knows "
            f"{_listed(labels)}",
            "if they are spelled differently, data.rename_labels maps one to the other",
        )
    out_NK = np.zeros((len(column), len(labels)), dtype=np.float32)
    places = np.array([ids[str(text)] for text in texts], dtype=np.int64)
    if len(index_M):
        out_NK[_parents(column), places[index_M]] = 1
    return out_NK


def joined_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The labels of each row as one text, equal where they are the same labels."""
    return pa.chunked_array([pa.array(["\x1f".join(sorted(labels)) for labels in column.to_pylist()], pa.string())])


def _is_done(table: pa.Table, data: DataConfig) -> bool:
    name = data.target_name
    return isinstance(data.target, tuple) and name in table.column_names and _is_list(table.schema.field(name).type)


def _of_columns(table: pa.Table, data: DataConfig) -> pa.ChunkedArray:
    is_set_NK = np.stack([_zero_or_one(name, table.column(name)) for name in data.targets], axis=1)
    rows, labels = np.nonzero(is_set_NK)
    return _lists(rows, pa.array(data.targets, pa.string()).take(pa.array(labels)), table.num_rows, None)


def _zero_or_one(name: str, column: pa.ChunkedArray) -> np.ndarray:
    try:
        values_N = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"the target column {name} is of type {column.type}, must hold 0 and 1") from error
    bad_N = (values_N != 0) & (values_N != 1)
    if bad_N.any():
        row = int(bad_N.argmax())
        raise DataError(
            f"the target column {name} holds {column[row].as_py()!r} in row {row} (the first is 0), must be 0 or 1",
            "data.target of several columns says of each row whether it has the label that the column is named after",
        )
    return np.asarray(values_N == 1)


def _of_one(column: pa.ChunkedArray, data: DataConfig) -> pa.ChunkedArray:
    if not _is_list(column.type):
        column = _cut(column, data)
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    texts, index_M = distinct_texts(_flat(pa.chunked_array([lists])))
    if None in texts:
        raise DataError(f"the target {data.target_name} has a list with a missing label", "remove or correct it")
    names = [data.rename_labels.get(str(text), str(text)) for text in texts]
    distinct, renamed = np.unique(np.array(names, dtype=str), return_inverse=True)
    pairs = np.unique(np.stack([_parents(pa.chunked_array([lists])), renamed[index_M]], axis=1), axis=0)
    values = pa.array(distinct.tolist(), pa.string()).take(pa.array(pairs[:, 1]))
    return _lists(pairs[:, 0], values, len(lists), lists.is_null() if lists.null_count else None)


def _cut(column: pa.ChunkedArray, data: DataConfig) -> pa.ChunkedArray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if data.label_separator is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(
            f"the target {data.target_name} is of type {column.type}, and data.task is multilabel",
            "it must be lists of text (Parquet list<string>, arrays in JSON lines), text with data.label_separator, or "
            "several columns of 0 and 1: data.target: [a, b, c]",
        )
    texts = column.cast(pa.string()).to_pylist()
    cut = [[part.strip() for part in (text or "").split(data.label_separator) if part.strip()] for text in texts]
    return pa.chunked_array([pa.array(cut, pa.list_(pa.string()))])


def _lists(rows_M: np.ndarray, values_M: pa.Array, num_rows: int, is_null_N: pa.Array | None) -> pa.ChunkedArray:
    """Lists of which `rows_M`, rising, says whose each value is."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows_M, minlength=num_rows))]).astype(np.int32)
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets), values_M, mask=is_null_N)])


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return arrow_texts(pc.list_flatten(column))


def _parents(column: pa.ChunkedArray) -> np.ndarray:
    """The row (M,) of each label; `list_parent_indices` counts anew in every chunk."""
    lengths_N = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.repeat(np.arange(len(column)), lengths_N)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MAX_NAMED} more" if len(labels) > MAX_NAMED else ""
    return ", ".join(map(repr, labels[:MAX_NAMED])) + more


def require_labels(counts: Mapping[str, int], num_rows: int, data: DataConfig) -> None:
    """Raise DataError where there is nothing to tell apart. Of held-out rows nothing is asked."""
    if data.source == data.test:
        return
    if len(counts) < 2:
        raise DataError(
            f"the target {data.target_name} has {len(counts)} label{'s' if len(counts) != 1 else ''}: "
            f"{_listed(list(counts)) or 'none'}; multilabel needs two",
            "of one label and its absence, data.task: classification predicts which",
        )
    if empty := [label for label, count in counts.items() if count == 0]:
        raise DataError(f"no row has the label {_listed(empty)}", "leave the column out of data.target")
    if len(counts) > 20 and len(counts) > num_rows:
        raise DataError(
            f"the target {data.target_name} has {len(counts):,} labels in {num_rows:,} rows: it looks like text, not "
            "like labels",
            "data.label_separator may be another one",
        )
