"""Whole attention heads and hidden units out of our Transformer blocks. What flows between blocks keeps its width.

torch_pruning cannot follow a query, key and value that are one matrix; of it only the slicing of layers is used.
Shape letters: H heads, E width of a head, D width between blocks, U hidden units.
"""

import torch
import torch_pruning as tp
from torch import Tensor, nn

from training.models.attention import Attention, Block, FeedForward


def has_blocks(model: nn.Module) -> bool:
    """Whether a part of it is one of our Transformer blocks."""
    return any(isinstance(module, Block) for module in model.modules())


@torch.no_grad()
def without_heads_and_units(model: nn.Module, sparsity: float) -> None:
    """Take the share of heads and of hidden units with the smallest weights out of every block, in place.

    One head stays at least. Michel et al., Are Sixteen Heads Really Better than One?, 2019.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            _prune_heads(module, sparsity)
        elif isinstance(module, FeedForward):
            _prune_hidden(module, sparsity)


def kept_units(num: int, sparsity: float) -> int:
    """How many of so many units stay, at least one: a multiple of 8, or of 4 in narrow layers, as kernels like it."""
    multiple = 8 if num >= 32 else 4 if num >= 8 else 1
    return min(num, max(multiple, round(num * (1 - sparsity) / multiple) * multiple))


def _prune_heads(attention: Attention, sparsity: float) -> None:
    num_heads, width = attention.heads, attention.out.in_features // attention.heads
    num_kept = max(1, round(num_heads * (1 - sparsity)))
    in_3HED = attention.query_key_value.weight.unflatten(0, (3, num_heads, width))
    out_DHE = attention.out.weight.unflatten(1, (num_heads, width))
    weight_H = in_3HED.square().sum(dim=(0, 2, 3)) + out_DHE.square().sum(dim=(0, 2))
    doomed_HE = _smallest(weight_H, num_heads - num_kept)[:, None] * width + torch.arange(width)
    columns = doomed_HE.flatten()
    rows = torch.cat([columns + part * num_heads * width for part in range(3)])
    tp.prune_linear_out_channels(attention.query_key_value, rows.tolist())
    tp.prune_linear_in_channels(attention.out, columns.tolist())
    attention.heads = num_kept


def _prune_hidden(ffn: FeedForward, sparsity: float) -> None:
    num_units, halves = ffn.out.in_features, 2 if ffn.is_gated else 1
    in_U = ffn.into.weight.unflatten(0, (halves, num_units)).square().sum(dim=(0, 2))
    weight_U = in_U + ffn.out.weight.square().sum(dim=0)
    columns = _smallest(weight_U, num_units - kept_units(num_units, sparsity))
    rows = torch.cat([columns + half * num_units for half in range(halves)])
    tp.prune_linear_out_channels(ffn.into, rows.tolist())
    tp.prune_linear_in_channels(ffn.out, columns.tolist())


def _smallest(weight_N: Tensor, num: int) -> Tensor:
    return weight_N.argsort()[:num]
