"""This rank's part of a tensor that ranks share."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch.distributed.tensor import DTensor


def local_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Plain tensors of the same memory: of a DTensor the shard that lies here, of others themselves.

    What acts on each element alone is faster on the shards, and torch has no such form of every kernel for DTensors.
    """
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def is_shared_out(tensors: Sequence[Tensor]) -> bool:
    """Whether any of them is a DTensor."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)
