"""A checkpoint's tensors copied to host memory, quickly, so that training may go on changing its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from training.checkpoint.payload import map_tensors
from training.session import Checkpoint

_UNCHANGING = "best/model/"  # made once for an epoch and never changed: copied off a device once, on the host never
_GROWING = "history"  # its entries do not change, so the list is enough


@dataclass(frozen=True)
class Taken:
    """A copy. It lasts until the buffers it came from are used again."""

    checkpoint: Checkpoint
    copied: torch.cuda.Event | None  # copies off a device may still be under way

    def ready(self) -> Checkpoint:
        """The checkpoint, once every copy is there."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.checkpoint


class HostCopies:
    """Copies of the best weights on the host, shared by all snapshots. They are never written again, so none tears."""

    def __init__(self) -> None:
        self._copies: dict[str, tuple[Tensor, Tensor]] = {}

    def copy_of(self, path: str, tensor: Tensor) -> tuple[Tensor, bool]:
        """The tensor itself if it is on the host, else its copy there; and whether that has to be filled yet.

        The same tensor always gives the same object: by that the store knows that it has been written.
        """
        source = _local(tensor)
        if source.device.type == "cpu":
            return tensor, False
        known = self._copies.get(path)
        if known is not None and known[0] is tensor:
            return known[1], False
        room = torch.empty(source.shape, dtype=source.dtype, pin_memory=source.device.type == "cuda")
        copy = _like(tensor, room)
        self._copies[path] = (tensor, copy)
        return copy, True


class Buffers:
    """Host memory for one checkpoint, allocated once and used again for every later one of the same shapes."""

    def __init__(self, copies: HostCopies) -> None:
        self._copies = copies
        self._buffers: dict[str, Tensor] = {}

    def take(self, checkpoint: Checkpoint) -> Taken:
        """Copy. The caller may change its tensors as soon as this returns; on a device, on the same stream."""
        sources: list[Tensor] = []
        targets: list[Tensor] = []
        used: set[str] = set()

        def change(path: str, tensor: Tensor) -> Tensor:
            if path.startswith(_UNCHANGING):
                target, is_new = self._copies.copy_of(path, tensor)
            else:
                target, is_new = _like(tensor, self._buffer(path, _local(tensor))), True
                used.add(path)
            if is_new:
                sources.append(_local(tensor))
                targets.append(_local(target))
            return target

        tree: Any = map_tensors({key: value for key, value in checkpoint.items() if key != _GROWING}, change)
        if _GROWING in checkpoint:
            tree[_GROWING] = list(checkpoint[_GROWING])
        self._buffers = {path: buffer for path, buffer in self._buffers.items() if path in used}
        return Taken(tree, _copy(sources, targets))

    def _buffer(self, path: str, source: Tensor) -> Tensor:
        buffer = self._buffers.get(path)
        is_pinned = source.device.type == "cuda"
        if buffer is None or (buffer.shape, buffer.dtype, buffer.is_pinned()) != (
            source.shape, source.dtype, is_pinned,
        ):  # fmt: skip
            buffer = torch.empty(source.shape, dtype=source.dtype, pin_memory=is_pinned)
            self._buffers[path] = buffer
        return buffer


@torch.no_grad()
def _copy(sources: list[Tensor], targets: list[Tensor]) -> torch.cuda.Event | None:
    if not sources:
        return None
    torch._foreach_copy_(targets, sources, non_blocking=True)
    device = next((source.device for source in sources if source.device.type == "cuda"), None)
    if device is None:
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def _local(tensor: Tensor) -> Tensor:
    """This worker's part of a shared-out tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def _like(tensor: Tensor, local: Tensor) -> Tensor:
    """The part in host memory, as part of the same whole. `DTensor.from_local` would move it back to the device."""
    if isinstance(tensor, DTensor):
        return DTensor(local, tensor._spec, requires_grad=False)
    return local
