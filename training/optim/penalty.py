"""The L1 penalty."""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from training.optim.groups import TAKES_DECAY


def l1_penalty(optimizer: Optimizer) -> Tensor:
    """Sum of the absolute values of the weights that weight decay would act on, a scalar for `train.l1` times it.

    The optimizer is one of `build_optimizer`. Every rank adds it to its own loss in full: the ranks hold equal
    weights, so the mean of their gradients is its gradient once. Once a step, not once a micro-batch. Under FSDP it
    is a collective: all ranks call it.
    """
    weights = [weight for group in optimizer.param_groups if group[TAKES_DECAY] for weight in group["params"]]
    if not weights:
        return torch.zeros(())  # a scalar of the CPU may be added to a loss on any device
    total = torch.stack(torch._foreach_norm(weights, 1)).sum()
    return total.full_tensor() if isinstance(total, DTensor) else total
