"""A language model as GPT-2 is one. Shape letters: B batch, L tokens of a sequence, D width, V vocabulary."""

import torch
from torch import Tensor, nn

from training.models.attention import Block, BlockShape, initialise_like_gpt2


class CausalLm(nn.Module):
    """A Transformer that says at every token which comes next, from that token and those before it.

    GPT-2 of 124 million weights: CausalLm(50257, 1024, dim=768, layers=12, heads=12).
    Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.

    Args:
        vocab_size: V.
        length: tokens of a sequence at most.
        dim: width of a token; a multiple of `heads`.
        layers: blocks.
        heads: of the attention.
        dropout: of embeddings, attention and what each block adds.
        tie_weights: whether the embedding of a token is also what its logit is made with.
    """

    def __init__(
        self,
        vocab_size: int,
        length: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        shape = BlockShape(dim, heads, 4 * dim, "gelu", dropout, 0.0, dropout, causal=True)
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.place_embedding = nn.Embedding(length, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocab_size, bias=False)
        initialise_like_gpt2(self, layers)
        if tie_weights:
            self.head.weight = self.token_embedding.weight

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of the token after each."""
        place_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        hidden_BLD = self.dropout(self.token_embedding(tokens_BL) + self.place_embedding(place_L))
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD)
        return self.head(self.norm(hidden_BLD))
