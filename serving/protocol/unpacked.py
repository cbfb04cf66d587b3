"""What a client sends packed, dates as text and images as files: unpacked before requests are joined into batches."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from serving.errors import BadInput
from training.package.dates import DateReader
from training.package.errors import UnreadableValue
from training.package.images import decode_images, from_base64, image_size
from training.package.manifest import InputSpec

MAX_REQUEST_PIXELS = 200_000_000  # of all images of a request: files of a few bytes each may unpack to gigabytes


def read_dates(where: str, texts_N: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Texts to datetime64[us] (N,), NaT where missing. Raises BadInput naming the element."""
    try:
        return _date_reader(spec.format, spec.missing)(texts_N)
    except UnreadableValue as error:
        raise BadInput(f"{where}: element {error.index} {error.reason}") from None


def read_images(where: str, values: Sequence[str | bytes | None], spec: InputSpec) -> np.ndarray:
    """Files, or base64 text of them, to (N, C, H, W) uint8. Raises BadInput naming the element."""
    channels, height, width = spec.shape
    try:
        files = [value if isinstance(value, bytes) else from_base64(index, value) for index, value in enumerate(values)]
        _require_pixels(where, files)
        return decode_images(files, (channels, height, width))
    except UnreadableValue as error:
        raise BadInput(f"{where}: element {error.index} {error.reason}") from None


@lru_cache(maxsize=256)
def _date_reader(date_format: str | None, missing: tuple[str, ...]) -> DateReader:
    return DateReader(date_format, missing, of_client=True)


def _require_pixels(where: str, files: Sequence[bytes | None]) -> None:
    sizes = [image_size(file) for file in files if file is not None]
    num_pixels = sum(size[1] * size[2] for size in sizes if size is not None)
    if num_pixels > MAX_REQUEST_PIXELS:
        raise BadInput(
            f"{where}: its images have {num_pixels:,} pixels together, at most {MAX_REQUEST_PIXELS:,} are read at once",
            "send fewer or smaller images in a request",
        )
