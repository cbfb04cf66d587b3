"""A folder of images with a folder a class: columns `image` (the encoded file), `label` and `path`."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from training.data.raw import Origin
from training.data.sources.draft import Draft, How
from training.data.sources.files import Found, versions
from training.data.sources.tabular import refuse_changed
from training.data.sources.words import listed, one_line
from training.errors import DataError

NUM_READERS = 16
MAX_CHUNK_BYTES = 1 << 28  # of encoded images in one Arrow array, which ends at 2 GiB
OUTSIDE = "stands in no class folder"


def read_image_folder(found: Found, how: How) -> Draft:
    """Every image below the folder; its label is the name of the first folder on the way to it.

    Raises:
        DataError: no image in a folder of its own, or a file that cannot be read or changed meanwhile.
    """
    before = versions(found.filesystem, found.paths)
    below = [path.removeprefix(found.root).strip("/") for path in found.paths]
    labels = [path.partition("/")[0] if "/" in path else None for path in below]
    if not any(labels):
        raise DataError(
            f"{how.said} holds {len(below)} images but no folder with a class's name around them",
            "put the images of each class into a folder of its own, as in folder/cat/1.jpg and folder/dog/2.jpg",
        )
    table = pa.table(
        {
            "image": _contents(found),
            "label": pa.array(labels, pa.string()),
            "path": pa.array(below, pa.string()),
        }
    )
    refuse_changed(found, before)
    # Each image is a place of its own, so a bad one is named by its path.
    origin = Origin(found.paths, tuple(range(len(below))))
    draft = Draft(table, np.arange(len(below)), origin, before, notes=[*found.notes, *_empty_classes(found, labels)])
    draft.reject(np.flatnonzero([label is None for label in labels]), "label", OUTSIDE, None)
    return draft


def _empty_classes(found: Found, labels: Sequence[str | None]) -> list[str]:
    """Folders without an image are no classes, and a person should know."""
    infos = found.filesystem.get_file_info(pafs.FileSelector(found.root, allow_not_found=True))
    folders = {info.base_name for info in infos if info.type == pafs.FileType.Directory}
    empty = sorted(name for name in folders - set(Counter(labels)) if not name.startswith(("_", ".")))
    return [f"{found.root}: {listed(empty, 5)} holds no image, so there is no such class"] if empty else []


def _contents(found: Found) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    held: list[bytes] = []
    num_bytes = 0
    with ThreadPoolExecutor(NUM_READERS) as pool:
        for content in pool.map(lambda path: _content(found.filesystem, path), found.paths):
            held.append(content)
            num_bytes += len(content)
            if num_bytes > MAX_CHUNK_BYTES:
                chunks.append(pa.array(held, pa.binary()))
                held, num_bytes = [], 0
    return pa.chunked_array([*chunks, pa.array(held, pa.binary())], pa.binary())


def _content(filesystem: pafs.FileSystem, path: str) -> bytes:
    try:
        with filesystem.open_input_file(path) as file:
            return bytes(file.read())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}", "check the access to it") from error
