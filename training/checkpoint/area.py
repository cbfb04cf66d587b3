"""What the store needs of a storage: a folder, or a prefix of an object store. It knows files, not what is in them."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import pyarrow.fs as pafs


@dataclass(frozen=True)
class Found:
    """A file of an area."""

    num_bytes: int
    age_s: float  # since it was written, by this machine's clock


class Area(Protocol):
    """Names are relative to the area, with slashes. Every method may raise OSError.

    A folder is written so: `staging`, files into it, `reserve` a name; every worker `deliver`s, the first one `seal`s.
    """

    where: str  # for a person
    is_folder: bool  # one that all workers see, so they write into one staging folder

    def files(self) -> dict[str, Found]:
        """Every file that is visible, at any depth. Empty where there is none yet."""

    def read(self, name: str) -> bytes:
        """A small file's content."""

    def fetched(self, names: Sequence[str]) -> AbstractContextManager[Path]:
        """A local folder in which these files lie under their names."""

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """For whoever reads parts of files: the file system, and this area's path in it."""

    def staging(self, parent: str, label: str) -> AbstractContextManager[Path]:
        """A local folder to write into. It is gone afterwards, unless it was sealed."""

    def reserve(self, name: str) -> str:
        """The name to deliver to: this one, or the next like it."""

    def deliver(self, staged: Path, name: str) -> None:
        """Bring what this worker wrote to where the others' files go."""

    def seal(self, staged: Path, name: str, manifest: bytes | None) -> str:
        """Make it exist, whole or not at all; gives the name it has. A manifest is written after all else."""

    def remove(self, name: str) -> None:
        """Remove a folder; for readers it is gone at once."""

    def sweep(self, *parents: str) -> None:
        """Remove what dead writers left in staging."""

    def free_mb(self) -> float | None:
        """Free space in megabytes (10^6 bytes); None where there is no such bound."""


def names_like(name: str) -> Iterator[str]:
    """`name`, `name.1`, `name.2` ..."""
    yield name
    for i in count(1):
        yield f"{name}.{i}"
