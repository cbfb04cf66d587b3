"""What kind a column is, as declared or by its type, and why it cannot be used.

Shape letters: N rows.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from training.data.column_config import ColumnKind
from training.data.config import DataConfig
from training.data.counts import Counts
from training.data.rare import rare_note, rare_problem
from training.package.columns import date_column
from training.package.errors import UnreadableValue
from training.package.images import MODES, array_shape, image_files, image_size, is_encoded, is_pixel_array
from training.package.manifest import InputSpec
from training.package.values import arrow_texts, numeric_column

LOOKED_AT = 100  # values of a binary column that are tried as images


def kind_of(name: str, column: pa.ChunkedArray, data: DataConfig) -> tuple[ColumnKind, str]:
    """The kind of a column, and why it cannot be used, or an empty text."""
    declared = data.kind_of(name)
    if column.null_count == len(column):
        return declared or "numeric", f"{name}: every value is missing"
    sort = _sort(column.type)
    if sort == "other":
        said = f"{name}: type {column.type} is no number, text, date or image{_way_out(column.type)}"
        return declared or "categorical", said
    kind = declared or _inferred(sort)
    return kind, _misfit(name, column, sort, kind) or _problem(name, column, kind, data)


def many_values(name: str, column: pa.ChunkedArray, data: DataConfig) -> tuple[tuple[str, str] | None, str]:
    """Of a column of categories: message and hint where they are too many to learn from, and what is worth a note."""
    settings: Any = data.settings_of(name, "categorical")
    counts = Counts.of(arrow_texts(column), data.missing)
    return rare_problem(name, counts, settings), rare_note(name, counts, settings)


def _sort(kind: pa.DataType) -> str:
    """numbers, texts, dates, files, arrays, or other."""
    if pa.types.is_dictionary(kind):
        return _sort(kind.value_type)
    tests = {
        "numbers": (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean),
        "texts": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "dates": (pa.types.is_date, pa.types.is_timestamp),
        "files": (is_encoded,),
        "arrays": (is_pixel_array,),
    }
    return next((sort for sort, tries in tests.items() if any(test(kind) for test in tries)), "other")


def _way_out(kind: pa.DataType) -> str:
    return " (a time of day; join it to its date)" if pa.types.is_time(kind) else ""


def _inferred(sort: str) -> ColumnKind:
    kinds: dict[str, ColumnKind] = {"numbers": "numeric", "texts": "categorical", "dates": "date"}
    return kinds.get(sort, "image")


def _misfit(name: str, column: pa.ChunkedArray, sort: str, kind: ColumnKind) -> str:
    """Where the declared kind is not what the column holds."""
    fits = {
        "numeric": ("numbers",), "categorical": ("numbers", "texts", "dates"), "text": ("numbers", "texts"),
        "date": ("dates", "texts"), "image": ("files", "arrays"),
    }  # fmt: skip
    if sort in fits[kind]:
        return ""
    held = {"texts": "text", "files": "binary values", "arrays": f"arrays ({column.type})"}.get(sort, sort)
    example = f" such as {_example(column)!r}" if sort in ("numbers", "texts", "dates") else ""
    return f"{name}: declared {kind}, but holds {held}{example}"


def _problem(name: str, column: pa.ChunkedArray, kind: ColumnKind, data: DataConfig) -> str:
    match kind:
        case "numeric":
            return _not_finite(name, column)
        case "date":
            return _not_dates(name, column, data)
        case "image":
            return _not_images(name, column, data)
    return ""


def _not_finite(name: str, column: pa.ChunkedArray) -> str:
    values_N = numeric_column(column)
    infinite_N = np.isinf(values_N)
    if infinite_N.any():
        return (
            f"{name}: {infinite_N.sum()} infinite values (or beyond float32), the first in row "
            f"{int(infinite_N.argmax())}"
        )
    return f"{name}: every value is NaN" if np.isnan(values_N).all() else ""


def _not_dates(name: str, column: pa.ChunkedArray, data: DataConfig) -> str:
    settings: Any = data.settings_of(name, "date")
    spec = InputSpec(name=name, kind="date", datatype="BYTES", format=settings.format, missing=data.missing)
    try:
        dates_N = date_column(column, spec)
    except UnreadableValue as error:
        return f"{name}: row {error.index} (the first is 0) {error.reason}"
    return f"{name}: every date is missing" if np.isnat(dates_N).all() else ""


def _not_images(name: str, column: pa.ChunkedArray, data: DataConfig) -> str:
    if not is_encoded(column.type):
        return _not_arrays(name, column.type, data)
    known = image_files(column.slice(0, LOOKED_AT).combine_chunks().drop_null())
    size = next((size for file in known if file is not None and (size := image_size(file))), None)
    if size is None:
        return f"{name}: type {column.type}, but none of the first {LOOKED_AT} values is an image"
    if data.image_shape is None:
        return f"{name}: images need data.image_shape, the size they are brought to, such as {list(size)}"
    if data.image_shape[0] not in MODES:
        return (
            f"{name}: data.image_shape {list(data.image_shape)} has {data.image_shape[0]} channels, must have 1, 3 or 4"
        )
    return ""


def _not_arrays(name: str, kind: pa.DataType, data: DataConfig) -> str:
    own, permutation = array_shape(kind), getattr(kind, "permutation", None)
    if data.image_shape is None:
        size = f", such as {list(own)}" if own is not None else ""
        return f"{name}: type {kind} is an image only with data.image_shape, its channels, height and width{size}"
    if permutation is not None and list(permutation) != list(range(len(permutation))):
        return f"{name}: type {kind} stores its axes in another order, which is not read"
    if own is None or own == data.image_shape or len(own) == 2 or (len(own) == 3 and {own[0], own[-1]} & set(MODES)):
        return ""
    return f"{name}: arrays of {list(own)} are no images of {list(data.image_shape)}"


def _example(column: pa.ChunkedArray) -> str:
    return str(column.drop_null()[0].as_py())[:40]
