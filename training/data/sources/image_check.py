"""Whether encoded images are whole: a broken one among good ones is a bad row, not a crash hours later."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from training.package.images import image_files, image_problem

PIECE_ROWS = 256  # images that a thread takes at a time
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*", b"P5\n", b"P6\n")
_COUNTS = re.compile(r" *\([^()]*\bbytes\b[^()]*\)")  # they would make a reason of its own for every file


@dataclass(frozen=True)
class Fault:
    """An image that cannot be read."""

    position: int
    reason: str


def looks_like_image(content: bytes) -> bool:
    """Whether bytes begin as the common image formats do."""
    is_bitmap = content[:2] == b"BM" and int.from_bytes(content[2:6], "little") == len(content)
    return is_bitmap or content.startswith(_MAGIC) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def broken_images(column: pa.ChunkedArray) -> list[Fault]:
    """The images (N,) of a column of encoded ones that are missing or cannot be decoded."""

    def faults(start: int) -> list[Fault]:
        files = image_files(column.slice(start, PIECE_ROWS))
        reasons = [(start + i, fault_of(file)) for i, file in enumerate(files)]
        return [Fault(position, reason) for position, reason in reasons if reason]

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow's decoders let other threads run
        return [fault for found in pool.map(faults, range(0, len(column), PIECE_ROWS)) for fault in found]


def fault_of(file: bytes | None) -> str:
    """Why an encoded image cannot be read, the same words for the same reason, or an empty text."""
    return "is an empty file (0 bytes)" if file == b"" else _COUNTS.sub("", image_problem(file))
