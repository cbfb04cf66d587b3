"""Trees of tensors as files: written with their digest in one pass, read without unpickling anything but tensors."""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Buffer

from training.checkpoint.manifest import FileEntry
from training.session import Checkpoint

_PIECE = 4 << 20


class Sink(io.FileIO):
    """A new file that torch.save writes to. It digests what passes, and lets the interpreter go meanwhile.

    torch's own writer turns a full disk into a RuntimeError without a reason, and an exception thrown through it may
    end the process; so after a failure this swallows the rest, and `close` raises what had happened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self._sha256 = hashlib.sha256()
        self._error: OSError | None = None
        self.num_bytes = 0

    @property
    def sha256(self) -> str:
        """Digest of all that was written."""
        return self._sha256.hexdigest()

    def write(self, data: Buffer) -> int:
        """Take all of it. A large piece is written and digested outside the interpreter's lock."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):  # in pieces: what was just written is still in the cache
            if self._error is None:
                self._write_piece(view[start : start + _PIECE])
        return len(view)

    def _write_piece(self, piece: memoryview) -> None:
        left = piece
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self._error = error
            return
        self._sha256.update(piece)
        self.num_bytes += len(piece)

    def close(self) -> None:
        """Force it to disk. Raises the OSError of the first write that failed, once."""
        if self.closed:
            return
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            os.fsync(self.fileno())
        finally:
            super().close()


def write_tree(tree: Any, path: Path) -> FileEntry:
    """Write one file; its entry carries the file's bare name. Raises OSError."""
    with Sink(path) as sink:
        torch.save(tree, sink)
    return FileEntry(path=path.name, num_bytes=sink.num_bytes, sha256=sink.sha256)


def read_tree(path: Path, map_location: str | torch.device) -> Checkpoint:
    """Read what `write_tree` wrote.

    For a device the file is mapped, so the host never holds all of it. For the CPU it is read: a mapping would stay
    behind the tensors, and where another machine deletes the file over NFS their next use would end the process.
    """
    is_mapped = torch.device(map_location).type != "cpu"
    loaded = torch.load(path, map_location=map_location, weights_only=True, mmap=is_mapped)
    assert isinstance(loaded, dict), f"{path} holds {type(loaded)}"
    return loaded


def map_tensors(tree: Any, change: Callable[[str, Tensor], Any], path: str = "") -> Any:
    """The same tree in new containers, each tensor replaced by what `change` gives for its path, `model/0.weight`."""
    if isinstance(tree, Tensor):
        return change(path, tree)
    if isinstance(tree, dict):
        return {key: map_tensors(value, change, f"{path}/{key}" if path else str(key)) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        # A namedtuple would need its fields one by one, and none loads with weights_only.
        return type(tree)(map_tensors(value, change, f"{path}/{i}") for i, value in enumerate(tree))
    return tree
