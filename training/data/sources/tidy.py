"""One form for what the formats hold in many: plain text, plain types, whole images."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.sources.draft import Draft, How, is_text
from training.data.sources.image_check import Fault, broken_images, looks_like_image
from training.errors import DataError
from training.package.images import is_encoded

MAX_TEXT_BYTES = 1 << 30  # of a piece: Arrow's plain text ends at 2 GiB


def tidy_columns(draft: Draft, how: How) -> None:
    """Text without surrounding spaces, markers as missing values, dictionaries and extensions as what they stand for.

    Broken images are bad rows.

    Raises:
        DataError: text that is not UTF-8, or bytes that are neither text nor images.
    """
    for name in draft.table.column_names:
        column = _plain(draft, name)
        kind = column.type
        if is_text(kind):
            draft.replace(name, _tidy_text(draft, column, name, how))
        elif is_encoded(kind):
            _tidy_bytes(draft, name, column, how)
        elif pa.types.is_time(kind):
            draft.replace(name, column.cast(pa.string()))  # a time of day is a category, or text
        elif kind != draft.table.field(name).type:
            draft.replace(name, column)


def _plain(draft: Draft, name: str) -> pa.ChunkedArray:
    column = draft.table.column(name)
    if isinstance(column.type, pa.BaseExtensionType) and not isinstance(column.type, pa.FixedShapeTensorType):
        column = column.cast(column.type.storage_type)
        draft.untyped |= {name}  # PostgreSQL's numeric comes as text under a name of its own
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column


def _tidy_text(draft: Draft, column: pa.ChunkedArray, name: str, how: How) -> pa.ChunkedArray:
    try:
        text = pc.utf8_trim_whitespace(_bounded(column).cast(pa.string()))
    except pa.ArrowInvalid:
        raise DataError(
            f"{_first_bad_text(draft, column)}: the column {name} is not UTF-8 text",
            "write the text as UTF-8 where it comes from, or leave the column out there",
        ) from None
    is_marker = pc.is_in(text, value_set=pa.array(how.data.missing, pa.string()))
    return pc.if_else(is_marker, pa.scalar(None, pa.string()), text) if pc.any(is_marker).as_py() else text


def _bounded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type == pa.string() or all(chunk.nbytes < MAX_TEXT_BYTES for chunk in column.chunks):
        return column
    step = max(1, len(column) * MAX_TEXT_BYTES // (2 * column.nbytes))
    parts = [chunk for start in range(0, len(column), step) for chunk in column.slice(start, step).chunks]
    return pa.chunked_array(parts, column.type)


def _first_bad_text(draft: Draft, column: pa.ChunkedArray) -> str:
    position = 0
    for chunk in column.chunks:
        for i, value in enumerate(chunk.cast(pa.large_binary())):
            if value.is_valid and not _is_utf8(value.as_py()):
                path, row = draft.origin.locate(int(draft.row_ids[position + i]))
                return f"{path}, row {row} (the first is 0)"
        position += len(chunk)
    return draft.origin.paths[0]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _tidy_bytes(draft: Draft, name: str, column: pa.ChunkedArray, how: How) -> None:
    """Bytes are images, or text that an older writer did not mark as such."""
    is_image = how.data.kind_of(name) == "image" or pa.types.is_struct(column.type)
    if is_image or looks_like_image(_first_value(column)):
        if name not in how.data.ignore:
            _reject_images(draft, name, broken_images(column))
        return
    try:
        text = column.cast(pa.large_string())
    except pa.ArrowInvalid:
        raise DataError(
            f"{_first_bad_text(draft, column)}: the column {name} holds bytes that are neither UTF-8 text nor an image",
            f"data.columns.{name}: image, if they are images, or leave the column out where it comes from",
        ) from None
    draft.replace(name, _tidy_text(draft, text, name, how))


def _first_value(column: pa.ChunkedArray) -> bytes:
    return next((value for chunk in column.chunks for value in chunk.drop_null()[:1].to_pylist()), b"")


def _reject_images(draft: Draft, name: str, faults: list[Fault]) -> None:
    for reason in dict.fromkeys(fault.reason for fault in faults):
        positions = np.array([fault.position for fault in faults if fault.reason == reason])
        draft.reject(positions, name, reason, values=None)
