"""The part of a checkpoint that workers share out: DTensors, through torch's distributed checkpoint.

Only tensors go that way. Everything else stays in the file that the first worker writes, where a `{SHARD: key}` stands
for each DTensor, because the distributed checkpoint would pickle it.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import torch
import torch.distributed.checkpoint.metadata as dcp_metadata
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from training.checkpoint.manifest import FileEntry
from training.checkpoint.payload import Sink, map_tensors
from training.checkpoint.team import Team
from training.package.digest import sha256_of

SHARD = "__sharded_tensor__"
FOLDER = "shards"


def has_shards(tree: Any) -> bool:
    """True where a DTensor is in it."""
    return bool(shards_of(tree))


def shards_of(tree: Any) -> dict[str, DTensor]:
    """The DTensors by their path in the tree."""
    found: dict[str, DTensor] = {}

    def look(path: str, tensor: Tensor) -> None:
        if isinstance(tensor, DTensor):
            found[path] = tensor

    map_tensors(tree, look)
    return found


def without_shards(tree: Any) -> Any:
    """The tree with a mark in place of each DTensor."""
    return map_tensors(tree, lambda path, tensor: {SHARD: path} if isinstance(tensor, DTensor) else tensor)


def with_shards(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree with tensors in place of the marks."""
    if isinstance(tree, dict):
        if SHARD in tree:
            return tensors[tree[SHARD]]
        return {key: with_shards(value, tensors) for key, value in tree.items()}
    return type(tree)(with_shards(value, tensors) for value in tree) if isinstance(tree, list | tuple) else tree


def write_shards(shards: dict[str, DTensor], folder: Path, team: Team) -> list[FileEntry]:
    """Write this worker's part; every worker calls it, and it returns when all are done. Raises OSError on all."""
    writer = FileSystemWriter(folder / FOLDER)
    writer.fs = _SteadyFileSystem()
    try:
        save(dict(shards), storage_writer=writer, process_group=team.group)
    except CheckpointException as error:
        for failure, _ in error.failures.values():
            if isinstance(failure, OSError):
                raise failure from error
        raise RuntimeError(str(error)) from error
    mine = sorted((folder / FOLDER).glob(f"__{team.rank}_*"))
    if team.rank == 0:
        mine.append(folder / FOLDER / ".metadata")
    return [
        FileEntry(path=f"{FOLDER}/{path.name}", num_bytes=path.stat().st_size, sha256=sha256_of(path)) for path in mine
    ]


def read_shards(store: pafs.FileSystem, folder: str, into: dict[str, DTensor]) -> dict[str, Tensor]:
    """Every tensor that is there: into the given ones as far as they go, the others whole, in host memory.

    It reads what this worker needs and asks no other, so it works at any number of workers.
    """
    reader = _SafeReader(store, f"{folder}/{FOLDER}")
    metadata = reader.read_metadata()
    tensors: dict[str, Tensor] = {}
    for key, info in metadata.state_dict_metadata.items():
        assert isinstance(info, TensorStorageMetadata), f"{key} is no tensor"
        tensors[key] = into[key] if key in into else torch.empty(info.size, dtype=info.properties.dtype)
    planner = DefaultLoadPlanner()
    reader.set_up_storage_reader(metadata, is_coordinator=True)
    planner.set_up_planner(dict(tensors), metadata, is_coordinator=True)
    reader.read_data(reader.prepare_local_plan(planner.create_local_plan()), planner).wait()
    return tensors


class _SteadyFileSystem(FileSystem):
    """torch.save may end the process where a write fails; see Sink."""

    @contextmanager
    def create_stream(self, path: str | PathLike[str], mode: str) -> Iterator[Any]:
        """A file to write."""
        with Sink(Path(path)) as sink:
            yield sink


class _ArrowFileSystem(FileSystem):
    """Reads parts of files wherever pyarrow can."""

    def __init__(self, store: pafs.FileSystem) -> None:
        super().__init__()
        self._store = store

    @contextmanager
    def create_stream(self, path: str | PathLike[str], mode: str) -> Iterator[Any]:
        """A file to read at any position."""
        with self._store.open_input_file(str(path)) as file:
            yield file

    def init_path(self, path: str | PathLike[str]) -> str | PathLike[str]:
        """As it is: Path would make one slash of two."""
        return path

    def concat_path(self, path: str | PathLike[str], suffix: str) -> str | PathLike[str]:
        """Below it."""
        return f"{path}/{suffix}"


class _SafeReader(FileSystemReader):
    """The distributed checkpoint's index is a pickle; this one makes nothing but what belongs into an index."""

    def __init__(self, store: pafs.FileSystem, folder: str) -> None:
        super().__init__(folder)
        self.fs: FileSystem = _ArrowFileSystem(store)
        self.path = folder

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index. Raises pickle.UnpicklingError where anything else is in it."""
        with self.fs.create_stream(f"{self.path}/.metadata", "rb") as file:
            metadata = _IndexUnpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"{self.path}/.metadata holds no index")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        return metadata


# Whole names: a module as such would give what it imports too, such as os.
_DCP = "torch.distributed.checkpoint"
_ALLOWED = frozenset(
    {
        *((f"{_DCP}.metadata", name) for name in dcp_metadata.__all__),
        (f"{_DCP}.metadata", "_MEM_FORMAT_ENCODING"),
        (f"{_DCP}.filesystem", "_StorageInfo"),
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("pathlib", "PosixPath"),
    }
)


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What an index is made of, and nothing else."""
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        found = getattr(torch, name, None) if module == "torch" else None
        if isinstance(found, torch.dtype):
            return found
        raise pickle.UnpicklingError(f"an index of shards does not need {module}.{name}")
