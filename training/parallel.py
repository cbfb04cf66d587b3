"""A model over several workers: DDP, FSDP, activations computed again, compilation."""

import contextlib
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from training.blocks import parts_of
from training.errors import ConfigError
from training.models.batch_norm import share_statistics
from training.optim.precision import narrow_type
from training.recompute import recompute_activations
from training.train_config import TrainConfig


def wrap(model: nn.Module, config: TrainConfig, device: torch.device, *, world_size: int) -> nn.Module:
    """The model ready to train on `device`: moved, and with `train.parallel`, `activation_checkpointing` and `compile`.

    It changes the model in place, and names of parameters and buffers stay. With one worker and under FSDP it gives
    the model itself. Build the optimizer, the average of weights and lists of parameters after it, from the model
    given here: FSDP puts other parameters into it. Where there are peers, every rank calls it, in a process group.

    Under FSDP forward passes are collectives, in evaluation too: every rank makes equally many. Batch norms see the
    rows of all workers.
    """
    model = model.to(device)
    if world_size > 1 and any(isinstance(module, _BatchNorm) for module in model.modules()):
        model = share_statistics(model, device)
    if config.activation_checkpointing:
        recompute_activations(model, is_compiled=config.compile)
    if world_size > 1 and config.parallel == "fsdp":
        return _shard(model, config, device, world_size)
    if config.compile:
        model.compile()
    return _replicate(model, device) if world_size > 1 else model


def no_sync(wrapped: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Around forward and backward of a micro-batch whose gradients only add up here; all but the last of a step."""
    if isinstance(wrapped, DistributedDataParallel):
        return wrapped.no_sync()
    return _fsdp_no_sync(wrapped) if isinstance(wrapped, FSDPModule) else contextlib.nullcontext()


def is_sharded(model: nn.Module) -> bool:
    """Whether each rank holds only a part of the weights."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


def sync_buffers(model: nn.Module, *, world_size: int) -> None:
    """Give every rank the buffers of rank 0, before an evaluation and a checkpoint. Every rank calls it.

    Under DDP ranks agree on them only while a step begins. Nothing where the model has none or is alone.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.numel()]
    if world_size == 1:
        return
    for buffer in buffers:
        dist.broadcast(buffer.detach(), src=0)


def smallest_over_ranks(value: int, device: torch.device, *, world_size: int) -> int:
    """The smallest of the ranks' values, for example of the micro-batches that fit. Waits for all of them."""
    if world_size == 1:
        return value
    shared = torch.tensor(value, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MIN)
    return int(shared)


def _replicate(model: nn.Module, device: torch.device) -> nn.Module:
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,  # else each gradient is held twice
        # A person's own model may leave parameters unused: DDP would then fail in the second step. Looking for them
        # walks the graph in every step, which our own models need not pay for.
        find_unused_parameters=not _is_ours(model),
    )


def _is_ours(model: nn.Module) -> bool:
    """Whether every part is of this package or of torch, where all parameters take part in every step."""
    return all(type(module).__module__.partition(".")[0] in ("training", "torch") for module in model.modules())


def _shard(model: nn.Module, config: TrainConfig, device: torch.device, world_size: int) -> nn.Module:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("train.parallel=fsdp has nothing to share out: the model has no parameter to train")
    mesh = init_device_mesh(device.type, (world_size,))
    # Gradients are summed in fp32: a sum over many ranks in a narrow type loses small ones.
    policy = MixedPrecisionPolicy(param_dtype=narrow_type(config.precision), reduce_dtype=torch.float32)
    for block in parts_of(model):
        if config.compile:
            block.compile()
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


@contextlib.contextmanager
def _fsdp_no_sync(wrapped: FSDPModule) -> Iterator[None]:
    wrapped.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        wrapped.set_requires_gradient_sync(True)
