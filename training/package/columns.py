"""From a table to the raw inputs of a model. Shape letters: N rows, C channels, H height, W width."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from training.package.dates import DateReader, arrow_dates
from training.package.errors import UnreadableValue
from training.package.images import array_images, decode_images, image_files, is_encoded, is_pixel_array
from training.package.manifest import InputSpec
from training.package.values import Texts, arrow_texts, numeric_column, text_column


class UnreadableColumn(UnreadableValue):
    """The same, with the column it stands in."""

    def __init__(self, column: str, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.args = (column, index, reason)
        self.column = column
        self.message = f"column {column}: row {index} (the first is 0) {reason}"


def inputs_from_table(table: pa.Table, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    """The columns a model takes, as arrays that `FeatureEncoder` takes.

    numeric (N,) float32, NaN where missing; categorical and text (N,) str or None; date (N,) datetime64[us], NaT where
    missing; image (N, C, H, W), uint8 where decoded from files, else float32. An image may also stand in a table as
    one column a pixel, in the order of `spec.columns`.

    Raises:
        KeyError: naming the first column that the table lacks.
        UnreadableColumn: a date or an image that cannot be read.
        pyarrow.ArrowInvalid: a column of numbers holds something else.
    """
    return {spec.name: _read(table, spec, _objects) for spec in specs}


def encoder_inputs(table: pa.Table, specs: tuple[InputSpec, ...]) -> dict[str, Any]:
    """The same for `FeatureEncoder` alone: texts stay in Arrow, which spares an object for each of them."""
    return {spec.name: _read(table, spec, _arrow) for spec in specs}


def _objects(table: pa.Table, name: str) -> np.ndarray:
    return text_column(table, name)


def _arrow(table: pa.Table, name: str) -> Texts:
    return arrow_texts(table.column(name))


def _read(table: pa.Table, spec: InputSpec, texts: Callable[[pa.Table, str], Any]) -> Any:
    if spec.kind == "numeric":
        return numeric_column(table.column(spec.name))
    if spec.kind in ("categorical", "text"):
        return texts(table, spec.name)
    try:
        if spec.kind == "date":
            return date_column(table.column(spec.name), spec)
        return _images(table, spec)
    except UnreadableValue as error:
        raise UnreadableColumn(spec.name, error.index, error.reason) from error


def date_column(column: pa.ChunkedArray, spec: InputSpec) -> np.ndarray:
    """A table's dates (N,) datetime64[us], NaT where missing. Raises UnreadableValue."""
    if pa.types.is_temporal(column.type):
        return arrow_dates(column)
    return DateReader(spec.format, spec.missing)(arrow_texts(column))


def _images(table: pa.Table, spec: InputSpec) -> np.ndarray:
    channels, height, width = spec.shape
    if spec.columns:
        images = np.empty((table.num_rows, len(spec.columns)), dtype=np.float32)
        for index, name in enumerate(spec.columns):
            images[:, index] = numeric_column(table.column(name))
        return images.reshape(-1, channels, height, width)
    column = table.column(spec.name)
    if is_encoded(column.type):
        return decode_images(image_files(column), (channels, height, width))
    if is_pixel_array(column.type):
        return array_images(column, (channels, height, width))
    raise UnreadableValue(0, f"is of type {column.type}, expected an encoded image or an array of pixels")
