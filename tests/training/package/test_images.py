"""Images: of every mode and size to one shape, from files and from arrays, and broken ones named."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.kinds import png
from training.package.columns import UnreadableColumn, inputs_from_table
from training.package.errors import UnreadableValue
from training.package.images import (
    MANY,
    array_images,
    decode_images,
    encode_png,
    from_base64,
    image_problem,
    image_size,
)
from training.package.manifest import InputSpec


def encoded(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def plain(mode: str, colour: Any, size: tuple[int, int] = (8, 4)) -> Image.Image:
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (plain("L", 200), "PNG", (200, 200, 200)),
        (plain("RGB", (10, 20, 30)), "BMP", (10, 20, 30)),
        (plain("RGBA", (10, 20, 30, 255)), "PNG", (10, 20, 30)),
        (plain("RGBA", (10, 20, 30, 0)), "PNG", (255, 255, 255)),
        (plain("LA", (40, 255)), "PNG", (40, 40, 40)),
        (plain("1", 1), "PNG", (255, 255, 255)),
        (plain("P", 0), "GIF", (0, 0, 0)),
        (plain("I;16", 257 * 100), "PNG", (100, 100, 100)),
        (plain("CMYK", (0, 0, 0, 0)), "TIFF", (255, 255, 255)),
        (plain("RGB", (10, 20, 30)), "WEBP", (10, 20, 30)),
        (plain("RGB", (100, 100, 100), (999, 1501)), "JPEG", (100, 100, 100)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_and_size_comes_out_in_one_shape(image: Image.Image, kind: str, expected: tuple[int, ...]) -> None:
    file = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    (pixels,) = decode_images([file], (3, 5, 7))
    assert pixels.shape == (3, 5, 7)
    assert [int(channel.min()) for channel in pixels] == [int(channel.max()) for channel in pixels] == list(expected)
    assert decode_images([file], (1, 5, 7)).shape == (1, 1, 5, 7)


def test_pixels_stay_where_they_were_and_turned_photos_are_upright() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(1, 4, 6) * 10
    assert np.array_equal(decode_images([encode_png(values)], (1, 4, 6))[0], values)
    colours = np.arange(72, dtype=np.uint8).reshape(3, 4, 6)
    assert np.array_equal(decode_images([encode_png(colours)], (3, 4, 6))[0], colours)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: to be shown a quarter turn clockwise
    turned = encoded(Image.fromarray(values[0]), "PNG", exif=exif)
    assert np.array_equal(decode_images([turned], (1, 6, 4))[0, 0], np.rot90(values[0], -1))


def test_many_are_decoded_in_threads_in_their_order() -> None:
    files = [encoded(plain("L", i)) for i in range(2 * MANY)]
    assert decode_images(files, (1, 2, 2))[:, 0, 0, 0].tolist() == list(range(2 * MANY))
    files[70] = files[71] = b"broken"
    with pytest.raises(UnreadableValue) as error:
        decode_images(files, (1, 2, 2))
    assert error.value.index == 70


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (None, "is missing"),
        (b"", "no known format"),
        (b"hello", "no known format"),
        (png(0, (40, 40))[:-500], "is not an image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known format"),
    ],
)
def test_broken_files_are_named(file: bytes | None, reason: str) -> None:
    with pytest.raises(UnreadableValue, match=reason) as error:
        decode_images([png(0), file], (3, 4, 4))
    assert error.value.index == 1
    assert reason in image_problem(file)
    assert image_problem(png(0)) == ""


def test_a_file_that_would_fill_the_memory_is_refused_unread() -> None:
    bomb = encoded(Image.new("1", (9000, 9000)))
    assert len(bomb) < 20_000
    assert image_size(bomb) == (1, 9000, 9000)
    with pytest.raises(UnreadableValue, match="81,000,000 pixels, at most 50,000,000"):
        decode_images([bomb], (1, 4, 4))


def test_base64_is_strict() -> None:
    assert from_base64(0, "aGk=") == b"hi"
    for bad in ("aGk", "a_k=", "ä", "a k="):
        with pytest.raises(UnreadableValue, match="is not base64"):
            from_base64(0, bad)


PIXELS = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)  # N, C, H, W


def tensor_column(values: np.ndarray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))])


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([PIXELS.reshape(2, -1).tolist()]),
        pa.chunked_array([PIXELS.tolist()]),
        pa.chunked_array([pa.array(PIXELS.tolist())[:1], pa.array(PIXELS.tolist())[1:]]),
        pa.chunked_array([pa.array(PIXELS.reshape(2, -1).tolist(), pa.list_(pa.float32(), 60))]),
        tensor_column(PIXELS),
        tensor_column(PIXELS.transpose(0, 2, 3, 1)),
    ],
    ids=["flat", "nested", "chunks", "fixed", "tensor", "channels last"],
)
def test_arrays_in_every_form_are_the_same_images(column: pa.ChunkedArray) -> None:
    images = array_images(column, (3, 4, 5))
    assert images.dtype == np.float32
    assert np.array_equal(images, PIXELS)


def test_tensors_of_another_size_are_converted_and_resized() -> None:
    grey = np.full((1, 8, 10), 50, np.uint8)
    assert np.array_equal(array_images(tensor_column(grey), (3, 4, 5)), np.full((1, 3, 4, 5), 50))
    colours = np.zeros((1, 8, 10, 3), np.uint8)
    colours[..., 1] = 100
    np.testing.assert_allclose(array_images(tensor_column(colours), (1, 4, 5)), 58.7, rtol=1e-5)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[1.0] * 4, None], r"row 1 \(the first is 0\) is missing"),
        ([[1.0] * 4, [1.0] * 3], "row 1 .* has 3 numbers, the image has 4"),
        ([[1.0] * 4, [1.0, None, 1.0, 1.0]], "row 1 .* missing pixels"),
    ],
)
def test_bad_arrays_are_named(rows: list[Any], reason: str) -> None:
    spec = InputSpec(name="i", kind="image", datatype="FP32", shape=(1, 2, 2))
    with pytest.raises(UnreadableColumn, match=f"column i: {reason}"):
        inputs_from_table(pa.table({"i": rows}), (spec,))


def test_files_may_stand_in_a_struct() -> None:
    spec = InputSpec(name="i", kind="image", datatype="BYTES", shape=(3, 4, 4))
    plain_files = inputs_from_table(pa.table({"i": [png(0), png(1)]}), (spec,))
    structs = pa.table({"i": [{"bytes": png(i), "path": f"{i}.png"} for i in range(2)]})
    assert np.array_equal(inputs_from_table(structs, (spec,))["i"], plain_files["i"])
    with pytest.raises(UnreadableColumn, match="expected an encoded image or an array"):
        inputs_from_table(pa.table({"i": ["a.png"]}), (spec,))
