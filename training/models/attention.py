"""Blocks of a Transformer that normalise first. Shape letters: B batch, S tokens, Q tokens that ask, D width, H heads,
E width of a head.

Source: Vaswani et al., Attention Is All You Need, 2017; the order of GPT-2 (Radford et al. 2019).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class BlockShape:
    """What makes up a block."""

    dim: int  # a multiple of `heads`
    heads: int
    ffn_dim: int
    activation: Literal["gelu", "reglu"]
    attention_dropout: float = 0.0  # of what a token looks at
    ffn_dropout: float = 0.0  # of hidden units
    residual_dropout: float = 0.0  # of what a branch adds
    causal: bool = False  # a token sees itself and those before it


class Block(nn.Module):
    """Attention and a feed-forward part, each of them normalised first and added to what it was given."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.dim)
        self.attention = Attention(shape)
        self.ffn_norm = nn.LayerNorm(shape.dim)
        self.ffn = FeedForward(shape)
        self.residual_dropout = nn.Dropout(shape.residual_dropout)

    def forward(self, hidden_BSD: Tensor, is_token_BS: Tensor | None = None, num_asking: int | None = None) -> Tensor:
        """What becomes of the tokens, (B, Q, D).

        Args:
            hidden_BSD: the tokens.
            is_token_BS: False where there is only padding, which nobody looks at; None: no padding.
            num_asking: Q, the first so many are all that is wanted of a last block; None: all.
        """
        normal_BSD = self.attention_norm(hidden_BSD)
        seen_BQD = self.attention(normal_BSD, is_token_BS, num_asking)
        hidden_BQD = hidden_BSD[:, :num_asking] + self.residual_dropout(seen_BQD)
        return hidden_BQD + self.residual_dropout(self.ffn(self.ffn_norm(hidden_BQD)))


class Attention(nn.Module):
    """Scaled dot-product attention with several heads."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.heads, self.dropout, self.causal = shape.heads, shape.attention_dropout, shape.causal
        self.query_key_value = nn.Linear(shape.dim, 3 * shape.dim)
        self.out = nn.Linear(shape.dim, shape.dim)

    def forward(self, hidden_BSD: Tensor, is_token_BS: Tensor | None, num_asking: int | None) -> Tensor:
        """What each of the first `num_asking` tokens saw, (B, Q, D)."""
        query_BSD, key_BSD, value_BSD = self.query_key_value(hidden_BSD).chunk(3, dim=2)
        seen_BHQE = F.scaled_dot_product_attention(
            self._by_head(query_BSD[:, :num_asking]),
            self._by_head(key_BSD),
            self._by_head(value_BSD),
            attn_mask=None if is_token_BS is None else is_token_BS[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal,
        )
        return self.out(seen_BHQE.transpose(1, 2).flatten(2))

    def _by_head(self, hidden_BSD: Tensor) -> Tensor:
        return hidden_BSD.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """A hidden layer with GELU, as in GPT-2, or with ReGLU, one half of which gates the other (Shazeer 2020)."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.is_gated = shape.activation == "reglu"
        self.into = nn.Linear(shape.dim, shape.ffn_dim * (2 if self.is_gated else 1))
        self.dropout = nn.Dropout(shape.ffn_dropout)
        self.out = nn.Linear(shape.ffn_dim, shape.dim)

    def forward(self, hidden_BSD: Tensor) -> Tensor:
        """Each token by itself, (B, S, D)."""
        inner = self.into(hidden_BSD)
        if self.is_gated:
            value, gate = inner.chunk(2, dim=2)
            inner = value * F.relu(gate)
        else:
            inner = F.gelu(inner, approximate="tanh")
        return self.out(self.dropout(inner))


def initialise_like_gpt2(model: nn.Module, num_layers: int) -> None:
    """Normal weights of 0.02, biases 0, and what is added to the residual stream smaller, the more layers add to it.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Attention | FeedForward):
                module.out.weight /= (2 * num_layers) ** 0.5
