"""Lion: the sign of a momentum (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, algorithm 2)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from training.optim.local import local_parts


class Lion(Optimizer):
    """Every weight moves by `lr` against the sign of the mean gradient; weight decay is decoupled.

    Its steps are larger than AdamW's: the paper takes a 3 to 10 times smaller rate and as much more weight decay. One
    state a parameter, half of AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for all parameters that have a gradient. `closure` computes the loss again, as in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not moved:
            return
        for parameter in moved:
            if "exp_avg" not in self.state[parameter]:
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
        weights = local_parts(moved)
        gradients = local_parts(parameter.grad for parameter in moved)
        means = local_parts(self.state[parameter]["exp_avg"] for parameter in moved)
        beta_step, beta_mean = group["betas"]
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        directions = torch._foreach_lerp(means, gradients, 1 - beta_step)
        torch._foreach_sign_(directions)
        torch._foreach_add_(weights, directions, alpha=-group["lr"])
        torch._foreach_lerp_(means, gradients, 1 - beta_mean)
