"""A checkpoint that every rank writes its shards of, by torch's distributed checkpoint; read at any number of ranks."""

import contextlib
import io
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from training.errors import StorageError

REST = "rest.pt"  # all that is no tensor; `torch.load` reads it with weights_only=True
_TENSOR = "tensor at"
_Path = tuple[str | int, ...]


def save_sharded(folder: Path, state: Mapping[str, Any], group: dist.ProcessGroup | None = None) -> None:
    """Write a training's checkpoint, each rank what lies on it. Every rank calls it, with the same folder, empty.

    Complete once `.metadata` is there, which is written last. Beside a running training give it a group of its own,
    of gloo: its exchanges would else mix with those of the steps.

    Args:
        folder: that all ranks reach.
        state: nested mappings and lists of DTensors, tensors that are equal on all ranks, and plain values.
        group: of the ranks; None for all.
    """
    tensors = {_key(path): tensor for path, tensor in _tensors(state, ())}
    if not dist.is_initialized() or dist.get_rank(group) == 0:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(_without_tensors(state, ()), folder / REST)
    writer = FileSystemWriter(folder, single_file_per_rank=True)
    with _quiet():
        save(tensors, storage_writer=writer, process_group=group, no_dist=not dist.is_initialized())


def load_sharded(folder: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The checkpoint as it was given, tensors placed as this model's parameters are now. Every rank calls it.

    What is named as a parameter, and the optimizer's state of one, is shared out as the parameter is; all else is
    whole on each rank. Raises StorageError where the folder is no such checkpoint.
    """
    if not (folder / ".metadata").exists():
        raise StorageError(f"{folder} holds no complete sharded checkpoint", "take another one")
    reader = _Reader(folder)
    metadata = reader.read_metadata()
    rest = torch.load(folder / REST, weights_only=True, map_location="cpu")
    named = model.state_dict()
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    tensors: dict[str, Any] = {}
    for path in _places(rest, ()):
        stored = metadata.state_dict_metadata[_key(path)]
        assert isinstance(stored, TensorStorageMetadata)
        tensors[_key(path)] = _room(stored, _owner(path, named, ordered))
    with _quiet():
        load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())
    loaded: dict[str, Any] = _with_tensors(rest, tensors)
    return loaded


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch warns whenever one process saves alone, which is as it should be here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        yield


def _owner(path: _Path, named: Mapping[str, Tensor], ordered: list[Tensor]) -> Tensor | None:
    """The parameter whose weights, average or optimizer state lie at this place of a checkpoint."""
    match path:
        case (*_, "state", int(place), str()) if place < len(ordered):
            return ordered[place]
        case (*_, str(name)):
            return named.get(name)
    return None


def _room(stored: TensorStorageMetadata, owner: Tensor | None) -> Tensor:
    if owner is not None and owner.shape == stored.size:
        return torch.zeros_like(owner, dtype=stored.properties.dtype, requires_grad=False)
    return torch.zeros(stored.size, dtype=stored.properties.dtype)


def _key(path: _Path) -> str:
    return "/".join(map(str, path))


def _items(state: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(state, Mapping):
        yield from state.items()
    elif isinstance(state, list | tuple):
        yield from enumerate(state)


def _tensors(state: Any, path: _Path) -> Iterator[tuple[_Path, Tensor]]:
    if isinstance(state, Tensor):
        yield path, state.detach()
    for key, value in _items(state):
        yield from _tensors(value, (*path, key))


def _places(rest: Any, path: _Path) -> Iterator[_Path]:
    if isinstance(rest, Mapping) and _TENSOR in rest:
        yield path
        return
    for key, value in _items(rest):
        yield from _places(value, (*path, key))


def _without_tensors(state: Any, path: _Path) -> Any:
    if isinstance(state, Tensor):
        return {_TENSOR: _key(path)}
    if isinstance(state, Mapping):
        return {key: _without_tensors(value, (*path, key)) for key, value in state.items()}
    return [_without_tensors(value, (*path, key)) for key, value in _items(state)] if _is_list(state) else state


def _with_tensors(rest: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(rest, Mapping):
        if _TENSOR in rest:
            return tensors[rest[_TENSOR]]
        return {key: _with_tensors(value, tensors) for key, value in rest.items()}
    return [_with_tensors(value, tensors) for value in rest] if _is_list(rest) else rest


def _is_list(state: Any) -> bool:
    return isinstance(state, list | tuple)


class _Reader(FileSystemReader):
    """torch's reader, but for its metadata: that is a pickle, which would run any code that somebody put into it."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        metadata: Metadata = _Unpickler(io.BytesIO(Path(self.path, ".metadata").read_bytes())).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What torch's metadata consists of; nothing else."""
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_type and name not in _OF_METADATA.get(module, ()):
            raise StorageError(f"the checkpoint's metadata names {module}.{name}", "do not use it: it was altered")
        return super().find_class(module, name)


_OF_METADATA = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING",
        "ChunkStorageMetadata", "MetadataIndex", "StorageMeta",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"),
}  # fmt: skip
