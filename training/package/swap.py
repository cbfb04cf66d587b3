"""Putting a folder in the place of another in one step, and what is left where a machine died in between."""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux' fcntl.h and fs.h
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # NFS and FAT; kernels before 3.15; systems that filter calls


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """One writer at a time, so whatever temporary folder is found beside the target belongs to a dead one."""
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process dies
        bring_back(folder)
        yield


def partial_prefix(folder: Path) -> str:
    """How what is still being written is called: hidden and beside the target, on the same file system."""
    return f".{folder.name}.partial-"


def put_in_place(temporary: Path, folder: Path) -> None:
    """Let `temporary` be `folder`; an older one there is removed afterwards. The caller is the only writer.

    Linux exchanges the two in one step, so there is a package at every moment. Where the file system cannot do that
    the old one is moved aside first, and `bring_back` undoes it if the machine dies before the second step.
    """
    if not folder.exists():
        temporary.rename(folder)
        sync(folder.parent)
    elif _exchange(temporary, folder):
        sync(folder.parent)
        shutil.rmtree(temporary, ignore_errors=True)  # what stays is removed by the next writer
    else:
        folder.rename(aside := _aside(folder))
        temporary.rename(folder)
        sync(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)


def bring_back(folder: Path) -> None:
    """Undo half of a replacement. The caller is the only writer."""
    aside = _aside(folder)
    if not aside.exists():
        return
    if folder.exists():
        shutil.rmtree(aside)  # the writer died after the second step: the new one is in its place
    else:
        aside.rename(folder)
        sync(folder.parent)


def recover(folder: Path) -> None:
    """For a reader that finds no folder: bring back what a dead writer moved aside, where that may be done here."""
    if folder.exists() or not _aside(folder).exists():
        return
    try:
        with only_writer(folder):  # of a living writer this waits for the end
            pass
    except OSError:
        return  # not allowed to write: the reader's own error says that there is nothing


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.replaced")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step. False where this system or this file system has no such call."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(other))


def sync(directory: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
