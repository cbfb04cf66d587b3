"""Decoupled weight decay for optimizers that add it to the gradients, or have none."""

from typing import Any

import torch
from torch.optim import Optimizer

from training.optim.local import local_parts

KEY = "decoupled_decay"  # `weight_decay` itself is torch's, and 0 here


def decay_decoupled(optimizer: Optimizer) -> Optimizer:
    """Take weight decay from the optimizer: before a step each weight shrinks by rate x decay, as in AdamW.

    An L2 term in the gradient would be smoothed by momentum and divided by adaptive scales (Loshchilov and Hutter,
    Decoupled Weight Decay Regularization, 2019). Gives the optimizer back.
    """
    for group in optimizer.param_groups:
        group[KEY], group["weight_decay"] = group["weight_decay"], 0.0
    if any(group[KEY] for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_shrink)
    return optimizer


@torch.no_grad()
def _shrink(optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    found_inf = getattr(optimizer, "found_inf", None)  # set by a GradScaler whose optimizer skips steps on the device
    for group in optimizer.param_groups:
        moved = [p for p in group["params"] if p.grad is not None] if group[KEY] else []
        if not moved:
            continue
        weights, share = local_parts(moved), group["lr"] * group[KEY]
        if found_inf is None:
            torch._foreach_mul_(weights, 1 - share)
        else:
            torch._foreach_mul_(weights, 1 - share * (found_inf == 0).to(torch.float32))
