"""Layers that compute as their int8 form will, while the gradients pass as if nothing were rounded.

What is rounded is a straight-through estimate (Bengio et al., Estimating or Propagating Gradients Through Stochastic
Neurons, 2013). Shape letters: O outputs of a layer, I inputs.
"""

import copy
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from training.compress.forms.dynamic_int8 import WEIGHT_LEVELS
from training.compress.forms.products import MIN_LAYER_WEIGHTS

MIN_SCALE = 1e-30  # a row of zeros must not divide by zero
LEVELS = 255  # of an activation in 8 bits
WATCHED_AT_A_TIME = 32  # rows: of large images or long texts some hundreds would fill the memory
FORGETS = 0.01  # share of what a range is above a batch's that it loses with the batch


def rounding(model: nn.Module, form: Literal["int8", "int8_static"]) -> nn.Module:
    """A copy whose layers round as a form does; `watch` a few rows before it is used.

    int8: weights of large linear layers, and each row of what they are given by its own range. int8_static: weights
    of all linear layers and convolutions, and what they are given by one range a layer. Weights have 7 bits in each,
    and a scale for every output.

    Batch norms keep the statistics they have: in use they are a constant factor of the layer before, which would move
    with every batch, and with a scale an output it is all the same whether a weight is rounded before or after it.
    """
    rounded = copy.deepcopy(model)
    for layer in list(_rounded_layers(rounded, form)):
        parametrize.register_parametrization(layer, "weight", _RoundedWeight())
        layer.rounded_input = _RoundedRows() if form == "int8" else _RoundedTensor()
        layer.register_forward_pre_hook(_round_input)
    for module in rounded.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_as_in_use)
    return rounded


def num_rounded(model: nn.Module, form: Literal["int8", "int8_static"]) -> int:
    """Layers that `rounding` would round."""
    return sum(1 for _ in _rounded_layers(model, form))


@torch.no_grad()
def watch(rounded: nn.Module, rows: tuple[Tensor, ...]) -> None:
    """Find the ranges of activations on some rows. Leaves the model in evaluation mode."""
    inputs = [module for module in rounded.modules() if isinstance(module, _RoundedRows | _RoundedTensor)]
    for each in inputs:
        each.is_watching = True
    rounded.eval()
    for start in range(0, len(rows[0]), WATCHED_AT_A_TIME):
        rounded(*(tensor[start : start + WATCHED_AT_A_TIME] for tensor in rows))
    for each in inputs:
        each.is_watching = False


def _rounded_layers(model: nn.Module, form: str) -> Iterator[nn.Module]:
    for module in model.modules():
        if form == "int8_static" and isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield module
        elif isinstance(module, nn.Linear) and module.weight.numel() >= MIN_LAYER_WEIGHTS:
            yield module


def _round_input(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    rounded = layer.get_submodule("rounded_input")
    return tuple(rounded(value) for value in given)


def _as_in_use(norm: nn.Module, _given: tuple[Any, ...]) -> None:
    norm.training = False


class _RoundedWeight(nn.Module):
    """A parametrization of a weight (O, ...)."""

    def forward(self, weight: Tensor) -> Tensor:
        """Rounded to 7 bits with a scale an output."""
        value = weight.float()  # torch has this rounding in no more bits, and models of 64 bits are quantized from 32
        highest_O = value.detach().abs().flatten(1).amax(dim=1)
        scale_O = (highest_O / WEIGHT_LEVELS).clamp_min(MIN_SCALE)
        zero_O = torch.zeros_like(scale_O, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(value, scale_O, zero_O, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS)
        return rounded.to(weight.dtype)


class _RoundedRows(nn.Module):
    """Activations (..., I), each row in 8 bits by its own largest value, as `training.compress.forms.dynamic_int8`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_watching = False
        self.levels = nn.Buffer(torch.tensor(255.0))  # 127 once a negative value was seen
        self.lowest = nn.Buffer(torch.tensor(0.0))

    def forward(self, given: Tensor) -> Tensor:
        """Rounded; while it watches, as it was given."""
        if self.is_watching:
            if given.numel() and float(given.min()) < 0:
                self.levels.fill_(127.0)
                self.lowest.fill_(-128.0)
            return given
        value = given.float()
        scale = (value.detach().abs().amax(dim=-1, keepdim=True) / self.levels).clamp_min(MIN_SCALE)
        rounded = torch.maximum((value / scale).round(), self.lowest) * scale
        return (value + (rounded - value).detach()).to(given.dtype)


class _RoundedTensor(nn.Module):
    """Activations in 8 bits by a range of the whole layer, which follows the batches of training.

    The form itself is ranged by the least and greatest value of many rows. A mean over batches would be narrower than
    that, so the range widens at once and narrows slowly.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_watching = False
        self.low, self.high = nn.Buffer(torch.zeros(())), nn.Buffer(torch.zeros(()))  # 0 must be one of the levels

    def forward(self, given: Tensor) -> Tensor:
        """Rounded; while it watches, as it was given."""
        value = given.float()
        if self.is_watching:
            self._see(value)
            return given
        if self.training:
            self._follow(value.detach())
        scale = ((self.high - self.low) / LEVELS).clamp_min(MIN_SCALE)
        zero = (-self.low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(value, scale, zero, 0, LEVELS).to(given.dtype)

    def _see(self, value: Tensor) -> None:
        self.low.copy_(torch.minimum(self.low, value.min()))
        self.high.copy_(torch.maximum(self.high, value.max()))

    def _follow(self, value: Tensor) -> None:
        least, greatest = value.min().clamp_max(0.0), value.max().clamp_min(0.0)
        self.low.copy_(torch.minimum(least, self.low.lerp(least, FORGETS)))
        self.high.copy_(torch.maximum(greatest, self.high.lerp(greatest, FORGETS)))
