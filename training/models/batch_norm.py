"""Batch norm that takes a batch of one row, and that workers share.

Shape letters: B batch, C channels, H height, W width.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Batch norm over rows (B, C) or pixels (B, C, H, W).

    The last batch of an epoch may hold a single row, which has no variance: it is normalised as in evaluation.
    """

    def forward(self, given: Tensor) -> Tensor:
        """What is given, normalised a channel."""
        if self.training and given.numel() == given.shape[1]:
            return _as_in_evaluation(self, given)
        return super().forward(given)

    def _check_input_dim(self, given: Tensor) -> None:
        assert given.ndim >= 2, f"batch norm takes (B, C, ...), not {tuple(given.shape)}"


def share_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norms that see the rows of all workers, as one worker with the whole batch would.

    Call it on every rank before the model is wrapped for gradient exchange. Parameters, buffers and their names stay,
    so that checkpoints fit either form; the model itself stays, unless it is nothing but a batch norm.

    In training every rank must then call the model equally often: each batch norm waits for its peers, `apart` aside.
    Where a global batch has fewer rows than there are ranks, the row that an idle rank repeats counts twice.
    """
    if isinstance(model, _BatchNorm):
        return model if isinstance(model, SharedOnGpu | SharedOnCpu) else _shared(model, device)
    for name, child in model.named_children():
        model.add_module(name, share_statistics(child, device))
    return model


@contextlib.contextmanager
def apart(model: nn.Module) -> Iterator[None]:
    """Batch norms see this rank's rows only, and wait for nobody: for what one rank does alone."""
    norms = [module for module in model.modules() if isinstance(module, SharedOnGpu | SharedOnCpu)]
    for norm in norms:
        norm.is_apart = True
    try:
        yield
    finally:
        for norm in norms:
            norm.is_apart = False


class SharedOnGpu(nn.SyncBatchNorm):
    """torch's own, which can be set apart."""

    is_apart = False

    def forward(self, given: Tensor) -> Tensor:
        """What is given, normalised a channel by the statistics of all ranks' rows together."""
        return _unremembered(self, given) if self.is_apart and self.training else super().forward(given)


class SharedOnCpu(_BatchNorm):
    """The same for CPUs, which torch's own refuses."""

    is_apart = False

    def forward(self, given: Tensor) -> Tensor:
        """What is given, normalised a channel by the statistics of all ranks' rows together."""
        if not self.training:
            return _as_in_evaluation(self, given)
        return _unremembered(self, given) if self.is_apart else self._normalised(given)

    def _normalised(self, given: Tensor) -> Tensor:
        axes = [axis for axis in range(given.ndim) if axis != 1]
        along = [-1 if axis == 1 else 1 for axis in range(given.ndim)]
        value = given.float()  # sums in a narrow type would lose what small batches hold
        num_channels, num_local = value.shape[1], value.numel() / value.shape[1]
        variance_C, mean_C = (moment_C.double() for moment_C in torch.var_mean(value, axes, correction=0))
        # One exchange for both: of the squares' sums, which in float64 keep the variance beside a large mean.
        sums = [mean_C * num_local, (variance_C + mean_C.square()) * num_local, mean_C.new_tensor([num_local])]
        total = _SumOverRanks.apply(torch.cat(sums))
        count = total[-1].detach()
        mean_C = total[:num_channels] / count
        variance_C = (total[num_channels:-1] / count - mean_C.square()).float()
        mean_C = mean_C.float()
        self._remember(mean_C.detach(), variance_C.detach(), count.float())
        normal = (value - mean_C.view(along)) * (variance_C + self.eps).rsqrt().view(along)
        if self.weight is not None:
            normal = normal * self.weight.view(along)
        if self.bias is not None:
            normal = normal + self.bias.view(along)
        return normal.to(given.dtype)

    def _remember(self, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else torch.tensor(self.momentum)
        self.running_mean.lerp_(mean_C, share.to(mean_C))
        self.running_var.lerp_(variance_C * count / (count - 1).clamp(min=1), share.to(mean_C))


class _SumOverRanks(torch.autograd.Function):
    """Sum over ranks, whose gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(_context: Any, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _as_in_evaluation(norm: _BatchNorm, given: Tensor) -> Tensor:
    by_batch = norm.running_mean is None
    weight: Tensor | None = norm.weight
    bias: Tensor | None = norm.bias
    if norm.running_mean is not None and weight is not None and bias is not None:
        # FSDP gathers them in the narrow type, and torch's kernel for CPUs then refuses statistics in fp32.
        weight, bias = weight.to(norm.running_mean), bias.to(norm.running_mean)
    return F.batch_norm(given, norm.running_mean, norm.running_var, weight, bias, by_batch, 0.0, norm.eps)


def _unremembered(norm: _BatchNorm, given: Tensor) -> Tensor:
    if given.numel() == given.shape[1]:
        return _as_in_evaluation(norm, given)
    return F.batch_norm(given, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


def _shared(norm: _BatchNorm, device: torch.device) -> nn.Module:
    kind = SharedOnGpu if device.type == "cuda" else SharedOnCpu
    shared = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(shared, name, getattr(norm, name))
    return shared.train(norm.training)
