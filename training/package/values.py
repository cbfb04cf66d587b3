"""Raw values of columns, in the forms that tables and clients bring them. Shape letters: N rows, D distinct values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Texts = Any  # (N,) objects, str or None; or an Arrow array of text, plain or dictionary-encoded


def text_column(table: pa.Table, name: str) -> np.ndarray:
    """A column as (N,) objects: str, or None where missing. Numbers become their shortest text."""
    return as_objects(arrow_texts(table.column(name)).to_pylist())


def as_objects(values: Sequence[Any]) -> np.ndarray:
    """A list as (N,) objects, whatever it holds."""
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return objects


def arrow_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as Arrow text, or as a dictionary of it. Numbers become their shortest text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column if _is_text(kind.value_type) else arrow_texts(column.cast(kind.value_type))
    return column if _is_text(kind) else column.cast(pa.string())


def distinct_texts(values: pa.Array | pa.ChunkedArray) -> tuple[list[str | None], np.ndarray]:
    """The distinct texts (D,) and which of them stands in each row (N,). None is one of them where it stands."""
    chunked = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    if not pa.types.is_dictionary(chunked.type):
        chunked = pc.dictionary_encode(chunked)
    chunks = chunked.unify_dictionaries().chunks
    if not chunks:
        return [], np.empty(0, dtype=np.int64)
    texts: list[str | None] = chunks[0].dictionary.to_pylist()
    null = len(texts)
    if chunked.null_count:
        texts.append(None)
    # Wider first: the index of a dictionary of 128 texts may be a byte, which cannot say 128.
    indices = [
        chunk.indices.cast(pa.int64()).fill_null(null) if chunk.null_count else chunk.indices for chunk in chunks
    ]
    index_N = np.concatenate([index.to_numpy(zero_copy_only=False) for index in indices])
    return texts, index_N


def numeric_column(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers (N,) as float32, NaN where missing, as serving sees them. Raises ArrowInvalid where it is not numbers."""
    if pa.types.is_floating(column.type) and column.type.bit_width == 32 and not column.null_count:
        return column.to_numpy()
    # Not checked for exactness: whole numbers beyond 2^53 are rounded here, as float32 would round them anyway.
    numbers = column.cast(pa.float64(), safe=False) if not _is_text(column.type) else column.cast(pa.float64())
    values: np.ndarray = numbers.to_numpy(zero_copy_only=False).astype(np.float32)  # null becomes NaN
    return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
