"""Checkpoints in a folder of a local or mounted file system."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow.fs as pafs

from training.checkpoint import staging
from training.checkpoint.area import Found, names_like
from training.checkpoint.manifest import MANIFEST_FILE


class LocalArea:
    """See Area for what the methods promise. A rename is what makes a folder exist."""

    is_folder = True

    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)

    def files(self) -> dict[str, Found]:
        """Every visible file. What another process removes meanwhile is not there."""
        now, found = time.time(), {}
        for folder, folders, names in os.walk(self.root, onerror=_raise_unless_gone):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in (Path(folder, name) for name in names if name != staging.LOCK_FILE):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                found[path.relative_to(self.root).as_posix()] = Found(status.st_size, now - status.st_mtime)
        return found

    def read(self, name: str) -> bytes:
        """A file's content."""
        return (self.root / name).read_bytes()

    @contextmanager
    def fetched(self, names: Sequence[str]) -> Iterator[Path]:
        """The folder itself: nothing has to be fetched."""
        yield self.root

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """The local one."""
        return pafs.LocalFileSystem(), str(self.root)

    def staging(self, parent: str, label: str) -> AbstractContextManager[Path]:
        """A hidden folder beside where it will be published, so that a rename suffices."""
        return staging.staging_folder(self.root / parent, label)

    def reserve(self, name: str) -> str:
        """The name itself: whether it is taken shows when it is sealed."""
        return name

    def deliver(self, staged: Path, name: str) -> None:
        """Nothing to do: all workers wrote into one folder."""

    def seal(self, staged: Path, name: str, manifest: bytes | None) -> str:
        """Write the manifest, force all to disk, rename."""
        for folder in sorted({path.parent for path in staged.rglob("*")} - {staged}):
            staging.sync_folder(folder)
        if manifest is not None:
            _write(staged / MANIFEST_FILE, manifest)
        staging.sync_folder(staged)
        target = _renamed(staged, self.root / name)
        staging.sync_folder(target.parent)
        (target / staging.LOCK_FILE).unlink(missing_ok=True)
        return target.relative_to(self.root).as_posix()

    def remove(self, name: str) -> None:
        """Rename it to a hidden name, then remove it."""
        staging.discard(self.root / name)

    def sweep(self, *parents: str) -> None:
        """Remove hidden folders whose writers are dead."""
        for parent in parents:
            if (self.root / parent).is_dir():
                staging.remove_dead(self.root / parent)

    def free_mb(self) -> float | None:
        """Free space of the file system."""
        return staging.free_bytes(self.root) / 1e6


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _renamed(staged: Path, wanted: Path) -> Path:
    """A folder that has files is never replaced by a rename, so no writer takes another's name."""
    for name in names_like(wanted.name):
        target = wanted.with_name(name)
        try:
            return staged.rename(target)
        except OSError:
            if not target.exists():
                raise
    raise AssertionError("there is always a next name")


def _raise_unless_gone(error: OSError) -> None:
    """os.walk passes over what it cannot read; an unreachable storage must not look like an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise error
