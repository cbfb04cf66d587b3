"""Half-written folders: made, known to be alive, and removed when their writer is dead."""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"
GONE = ".gone."  # was a checkpoint; on its way out
UNLOCKED_DEAD_S = 60.0  # a live writer locks its folder at once
NO_LOCKS_DEAD_S = 3600.0  # on a file system without locks only age tells


@contextmanager
def staging_folder(parent: Path, label: str) -> Iterator[Path]:
    """A hidden folder of a unique name beside where its content will go. It is gone afterwards, unless renamed.

    Its lock tells other writers that this one lives; the system drops it when the process dies.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f".{label}.{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        with (folder / LOCK_FILE).open("w") as lock:
            with contextlib.suppress(OSError):  # a file system without locks: then age protects it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        with contextlib.suppress(OSError):  # its own trouble must not hide why we are here
            discard(folder)  # who is killed amid it has taken the lock away, and leaves what every sweep knows as gone


def remove_dead(parent: Path) -> None:
    """Remove what dead writers left in this folder."""
    with os.scandir(parent) as entries:
        hidden = [Path(entry.path) for entry in entries if entry.name.startswith(".") and entry.is_dir()]
    for folder in hidden:
        if folder.name.startswith(GONE):
            shutil.rmtree(folder, ignore_errors=True)  # another writer may be at the same
        elif _is_dead(folder):
            with contextlib.suppress(OSError):
                discard(folder)  # renamed first: a sweep killed amid it must not leave a folder that only lost its lock


def _is_dead(folder: Path) -> bool:
    try:
        age_s = time.time() - folder.stat().st_mtime
        with (folder / LOCK_FILE).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return folder.exists() and age_s > UNLOCKED_DEAD_S
    except OSError:
        return age_s > NO_LOCKS_DEAD_S


def discard(folder: Path) -> None:
    """Make a folder disappear for readers at once, then remove it."""
    hidden = folder.with_name(f"{GONE}{secrets.token_hex(8)}")
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return  # another writer was faster
    shutil.rmtree(hidden, ignore_errors=True)  # what is left of it goes with the next writer


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Free space where this path is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
