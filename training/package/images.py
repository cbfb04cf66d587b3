"""Images: decoded from files, brought to one number of channels and one size. Shape letters: N images, C, H, W."""

import base64
import binascii
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps, UnidentifiedImageError

from training.package.errors import UnreadableValue

Shape = tuple[int, int, int]  # C, H, W

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels of encoded images
# No more: others run programs of their own (EPS), or were never meant for pictures of things.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 50_000_000  # a small file may claim to be an image that fills the memory
MANY = 64  # from here on it pays to decode in threads
WHITE = (255, 255, 255, 255)


def decode_images(files: Sequence[bytes | None], shape: Shape) -> np.ndarray:
    """Encoded images as (N, C, H, W) uint8: turned upright, converted, resized.

    Raises:
        UnreadableValue: for the first that is missing, broken, or of more than MAX_PIXELS.
    """
    images_NCHW = np.empty((len(files), *shape), dtype=np.uint8)

    def fill(index: int) -> None:
        images_NCHW[index] = _decode(index, files[index], shape)

    if len(files) < MANY:
        for index in range(len(files)):
            fill(index)
    else:  # Pillow decodes and resizes without Python's lock
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _ in pool.map(fill, range(len(files)), chunksize=16):
                pass
    return images_NCHW


def image_problem(file: bytes | None) -> str:
    """Why an encoded image cannot be read, or an empty text. Decodes it whole: a cut file has a good beginning."""
    try:
        _decode(0, file, (1, 8, 8))
    except UnreadableValue as error:
        return error.reason
    return ""


def image_size(file: bytes) -> Shape | None:
    """Channels, height and width that a file says it has, or None where it is no image."""
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            channels = 1 if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16") else 3
            return channels, image.height, image.width
    except Exception:  # Pillow's plugins raise whatever a broken file leads them to
        return None


def encode_png(image_CHW: np.ndarray) -> bytes:
    """An image of uint8 as a file from which `decode_images` gives exactly this image."""
    layers_HWC = image_CHW.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(layers_HWC[:, :, 0] if layers_HWC.shape[2] == 1 else layers_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def from_base64(index: int, text: str | None) -> bytes | None:
    """A file as JSON carries it. Raises UnreadableValue."""
    if text is None:
        return None
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise UnreadableValue(index, "is not base64, in which JSON carries an encoded image") from None


def is_encoded(kind: pa.DataType) -> bool:
    """Whether a column's type holds files: binary, or a struct with such a field `bytes`."""
    if pa.types.is_struct(kind):
        return "bytes" in kind.names and is_encoded(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def image_files(column: pa.ChunkedArray) -> list[bytes | None]:
    """The files of a column of encoded images."""
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    files: list[bytes | None] = column.to_pylist()
    return files


def array_images(column: pa.ChunkedArray, shape: Shape) -> np.ndarray:
    """A column of pixel arrays as (N, C, H, W) float32.

    Lists are flat or nested in the order C, H, W. A tensor column may also have the axes H, W or H, W, C; then its
    images are converted and resized where they differ from `shape`.

    Raises:
        UnreadableValue: for the first row that is missing, has another number of pixels, or a missing one.
    """
    own = array_shape(column.type) or shape
    pixels_NX = _flat_rows(column, int(np.prod(own)))
    images = pixels_NX.reshape(len(pixels_NX), *own)
    if own == shape:
        return images
    return _fit_arrays(_channels_last(images), shape)


def _decode(index: int, file: bytes | None, shape: Shape) -> np.ndarray:
    if file is None:
        raise UnreadableValue(index, "is missing, expected an image")
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as opened:
            _require_size(index, opened)
            opened.draft(None, (2 * width, 2 * height))  # a JPEG far larger than that is decoded at a fraction
            ImageOps.exif_transpose(opened, in_place=True)
            image = _convert(opened, MODES[channels])
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels: np.ndarray = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
        return pixels
    except UnreadableValue:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a broken file leads them to
        said = " ".join(str(error).split())[:120]
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else said
        raise UnreadableValue(index, f"is not an image that can be read ({len(file)} bytes): {reason}") from error


def _require_size(index: int, image: Image.Image) -> None:
    if (num_pixels := image.width * image.height) > MAX_PIXELS:
        raise UnreadableValue(index, f"is an image of {num_pixels:,} pixels, at most {MAX_PIXELS:,} are read")


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow would cut everything above 255 off
        grey = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, WHITE)  # what lies below full transparency is often black
        image = Image.alpha_composite(ground, image)
    return image if image.mode == mode else image.convert(mode)


def _channels_last(images: np.ndarray) -> np.ndarray:
    """Images of a tensor column (N, H, W, C), which may come without C, or with C before H."""
    if images.ndim == 3:
        return images[..., None]
    return images if images.shape[3] in MODES else images.transpose(0, 2, 3, 1)


def _flat_rows(column: pa.ChunkedArray, size: int) -> np.ndarray:
    """Lists of numbers as (N, size) float32."""
    rows: list[np.ndarray] = []
    start = 0
    for chunk in column.chunks:
        rows.append(_flat_chunk(chunk, size, start))
        start += len(chunk)
    return np.concatenate(rows) if len(rows) != 1 else rows[0]


def _flat_chunk(chunk: Any, size: int, start: int) -> np.ndarray:
    values: Any = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    if values.null_count:
        raise UnreadableValue(start + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]),
                              "is missing, expected an image")  # fmt: skip
    num_rows = len(values)
    lengths_N = np.ones(num_rows, dtype=np.int64)
    while _is_list(values.type):
        inner = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        owner = np.repeat(np.arange(num_rows), lengths_N)
        lengths_N = np.bincount(owner, weights=inner, minlength=num_rows).astype(np.int64)
        values = values.flatten()
    if (wrong := lengths_N != size).any():
        index = int(wrong.argmax())
        raise UnreadableValue(start + index, f"has {lengths_N[index]} numbers, the image has {size}")
    pixels_NX = values.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).reshape(num_rows, size)
    if (gaps := np.isnan(pixels_NX).any(axis=1)).any():
        raise UnreadableValue(start + int(gaps.argmax()), "has missing pixels")
    return np.asarray(pixels_NX, dtype=np.float32)


def _is_list(kind: pa.DataType) -> bool:
    tests: tuple[Callable[[pa.DataType], bool], ...] = (
        pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def is_pixel_array(kind: pa.DataType) -> bool:
    """Whether a column's type holds arrays of numbers."""
    inner: Any = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    if not _is_list(inner):
        return False
    while _is_list(inner):
        inner = inner.value_type
    return bool(pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner))


def array_shape(kind: pa.DataType) -> tuple[int, ...] | None:
    """Axes of a single image where the type says them: H, W or H, W, C or C, H, W."""
    own = getattr(kind, "shape", None)
    return tuple(own) if own is not None else None


def _fit_arrays(layers_NHWC: np.ndarray, shape: Shape) -> np.ndarray:
    channels, height, width = shape
    images = np.empty((len(layers_NHWC), *shape), dtype=np.float32)
    for index, layers_HWC in enumerate(layers_NHWC):
        converted_HWC = _convert_layers(layers_HWC, channels)
        for channel in range(channels):
            images[index, channel] = _resize(converted_HWC[:, :, channel], height, width)
    return images


def _convert_layers(layers_HWC: np.ndarray, channels: int) -> np.ndarray:
    if layers_HWC.shape[2] == channels:
        return layers_HWC
    colours = layers_HWC[:, :, :3]
    if channels == 1:  # the weights Pillow uses (ITU-R 601-2)
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        return (colours @ weights)[:, :, None] if colours.shape[2] == 3 else colours[:, :, :1]
    if colours.shape[2] == 3:
        return colours
    return np.repeat(colours[:, :, :1], channels, axis=2)


def _resize(layer_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    if layer_HW.shape == (height, width):
        return layer_HW
    image = Image.fromarray(np.ascontiguousarray(layer_HW, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
