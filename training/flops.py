"""How much a training computes, and how much its GPU could: what a model FLOPs utilisation is made of."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MAX_ROWS = 8  # that are counted: the count of a row does not depend on how many there are
PEAK_SIZE, PEAK_REPEATS = 8192, 20


def flops_per_sample(model: nn.Module, tensors: tuple[Tensor, ...], loss_of: Callable[[Tensor], Tensor]) -> float:
    """Floating-point operations of one row, forward and backward: matrix products, attention, convolutions.

    What activation checkpointing computes again is not counted, as usual for model FLOPs. Gradients are left empty.

    Args:
        model: in training mode, not compiled from here: its own `forward` is called.
        tensors: a batch.
        loss_of: from output to a scalar.
    """
    rows = min(MAX_ROWS, len(tensors[0]))
    with FlopCounterMode(display=False) as counter:
        loss_of(model.forward(*(tensor[:rows] for tensor in tensors))).backward()
    model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / rows


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large product of square matrices, measured on this GPU: what it can really reach."""
    one, other = (torch.randn(PEAK_SIZE, PEAK_SIZE, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):  # clocks and kernels warm up
        one @ other
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(PEAK_REPEATS):
        one @ other
    torch.cuda.synchronize(device)
    return 2.0 * PEAK_SIZE**3 * PEAK_REPEATS / (time.perf_counter() - began)
