"""A folder of images with a folder a class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for label, ending in (("cat", "png"), ("dog", "jpg")):
        for i in range(3):
            path = tmp_path / "pets" / label / f"{i}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


@pytest.mark.parametrize("kind", ["images", "auto"])
def test_each_image_is_a_row_with_its_class(folder: Path, kind: str) -> None:
    raw = read_sources(config(folder, format=kind))
    assert raw.table.column_names == ["image", "label", "path"]
    assert raw.table.column("label").to_pylist() == ["cat"] * 3 + ["dog"] * 3
    assert raw.table.column("path")[4].as_py() == "dog/1.jpg"
    assert raw.table.column("image")[4].as_py() == (folder / "dog" / "1.jpg").read_bytes()
    assert raw.origin.locate(4) == (str(folder / "dog" / "1.jpg"), 0)
    assert len(raw.sources[0].files) == 6


def test_broken_images_among_good_ones_are_bad_rows_with_their_paths(folder: Path) -> None:
    jpg, png = folder / "dog" / "0.jpg", folder / "cat" / "0.png"
    jpg.write_bytes(jpg.read_bytes()[:-200])
    png.write_bytes(png.read_bytes()[:200])
    (folder / "cat" / "1.png").write_bytes(b"")
    (folder / "dog" / "1.jpg").write_text("not found")
    Image.new("L", (3, 3)).save(folder / "loose.png")
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "bird").mkdir()
    raw = read_sources(config(folder, format="images"))
    assert raw.table.column("path").to_pylist() == ["cat/2.png", "dog/2.jpg"]
    assert sorted((path, column, reason) for path, _, column, reason, _ in bad(raw)) == [
        ("0.jpg", "image", "is not an image that can be read: image file is truncated"),
        ("0.png", "image", "is not an image that can be read: image file is truncated"),
        ("1.jpg", "image", "is not an image that can be read: no known format"),
        ("1.png", "image", "is an empty file (0 bytes)"),
        ("loose.png", "label", "stands in no class folder"),
    ]
    assert raw.num_read == 7
    assert any("notes.txt" in note for note in raw.notes)
    assert any("bird holds no image" in note for note in raw.notes)


def test_a_folder_without_classes_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"holds 3 images but no folder with a class's name"):
        read_sources(config(folder / "cat", format="images"))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="holds no file that can be read as images"):
        read_sources(config(tmp_path, format="images"))
