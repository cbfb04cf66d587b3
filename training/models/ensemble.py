"""Several models as one module. Shape letters: B batch, M members, K outputs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Members of one architecture, which train side by side and answer together.

    In training it gives each member's logits, so that each learns from its own rows; see `training.losses`. Else it
    gives what a single model would: softmax of it is the mean of the members' probabilities, a regression's output
    their mean.
    """

    def __init__(self, members: Sequence[nn.Module], num_outputs: int, *, is_balanced: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.is_balanced = is_balanced  # whether it is to be trained on rows in which every class comes equally often
        self.is_regression = num_outputs == 1

    @property
    def num_members(self) -> int:
        """Models in it."""
        return len(self.members)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, M, K) in training; else log probabilities (B, K), or predictions (B, 1)."""
        logits_BMK = torch.stack([member(*tensors) for member in self.members], dim=1)
        if self.training:
            return logits_BMK
        if self.is_regression:
            return logits_BMK.mean(dim=1)
        return logits_BMK.log_softmax(dim=2).logsumexp(dim=1) - math.log(self.num_members)
