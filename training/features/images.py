"""Fit an image input. Shape letters: N images, C channels, H height, W width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.errors import DataError
from training.features.moments import Moments
from training.features.numeric import MIN_SCALE
from training.package.errors import UnreadableValue
from training.package.fitted import ImageTransform
from training.package.images import Shape, array_images, decode_images, image_files, is_encoded
from training.package.manifest import InputSpec
from training.package.values import numeric_column

MAX_IMAGES = 10_000  # of a column, evenly spread: more do not move the mean of all their pixels
MAX_IMAGES_OF_BLOCK = 64  # of a block of a stream
PIXELS_NAME = "image"  # of the input whose pixels are the table's columns


@dataclass(frozen=True)
class ImageSummary:
    """What fitting needs of images, mergeable with that of further rows."""

    pixels: Moments
    encoded: bool = False
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, column: pa.ChunkedArray, shape: Shape, max_images: int) -> "ImageSummary":
        """Of a column of files or of pixel arrays, from so many images at most."""
        num_rows = len(column)
        rows = np.unique(np.linspace(0, num_rows - 1, min(num_rows, max_images)).round().astype(np.int64))
        picked = column.take(pa.array(rows))
        encoded = is_encoded(column.type)
        try:
            images = decode_images(image_files(picked), shape) if encoded else array_images(picked, shape)
        except UnreadableValue as error:
            raise DataError(
                f"{name}: training row {rows[error.index]} (the first is 0) {error.reason}",
                "correct or remove it; data.checks.max_bad_fraction leaves rows with broken images out",
            ) from error
        return cls(Moments.of(images), encoded)

    @classmethod
    def of_columns(cls, table: pa.Table, names: Sequence[str]) -> "ImageSummary":
        """Of images whose pixels are columns."""
        pixels = Moments()
        for name in names:
            values_N = numeric_column(table.column(name))
            if (is_gap_N := np.isnan(values_N)).any():
                raise DataError(
                    f"an image has missing pixels, the first in {name}, training row {int(is_gap_N.argmax())} (the "
                    "first is 0)",
                    "remove these rows, or read the columns without data.image_shape",
                )
            pixels = pixels.merge(Moments.of(values_N))
        return cls(pixels, columns=tuple(names))

    def merge(self, other: "ImageSummary") -> "ImageSummary":
        """Both together."""
        return ImageSummary(self.pixels.merge(other.pixels), self.encoded, self.columns)

    def finish(self, name: str, shape: Shape) -> tuple[ImageTransform, InputSpec]:
        """The transform and what a client is told."""
        pixels = self.pixels
        transform = ImageTransform(name=name, shape=shape, mean=pixels.mean, scale=max(pixels.deviation, MIN_SCALE))
        spec = InputSpec(
            name=name, kind="image", datatype="BYTES" if self.encoded else "FP32", shape=shape, columns=self.columns,
            minimum=0.0 if self.encoded else pixels.minimum, maximum=255.0 if self.encoded else pixels.maximum,
            nullable=False,
        )  # fmt: skip
        return transform, spec
