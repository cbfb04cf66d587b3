"""A multilayer perceptron for tables.

Shape letters: B batch, F numeric features, C categorical columns, T texts, L tokens of a text, D width of an
embedding, K outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.package.fitted import MISSING_CODE, PAD_TOKEN, UNKNOWN_CODE


class Mlp(nn.Module):
    """Hidden layers with ReLU over numeric features, the embeddings of categorical ones, and mean embeddings of texts.

    A code that training never meets keeps the embedding 0, so that what is unknown moves the answer nowhere.
    """

    def __init__(
        self,
        num_numeric: int,
        num_codes: Sequence[int],
        num_outputs: int,
        hidden: Sequence[int],
        dropout: float,
        max_embedding_dim: int,
        num_tokens: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.has_numeric = num_numeric > 0
        self.embeddings = nn.ModuleList(_embedding(codes, max_embedding_dim) for codes in num_codes)
        self.token_embeddings = nn.ModuleList(_token_embedding(codes, max_embedding_dim) for codes in num_tokens)
        layers: list[nn.Module] = []
        dims = [embedding.embedding_dim for embedding in (*self.embeddings, *self.token_embeddings)]
        width = num_numeric + sum(dims)
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K) from `numeric` (B, F), `categorical` (B, C), `tokens` (B, T, L); some may be absent."""
        rest = iter(tensors)
        parts = [next(rest)] if self.has_numeric else []
        if self.embeddings:
            codes_BC = next(rest)
            parts += [embedding(codes_BC[:, i]) for i, embedding in enumerate(self.embeddings)]
        if self.token_embeddings:
            tokens_BTL = next(rest)
            parts += [_mean(embedding, tokens_BTL[:, i]) for i, embedding in enumerate(self.token_embeddings)]
        return self.layers(torch.cat(parts, dim=1))


def _dim(num_codes: int, max_dim: int) -> int:
    return min(max_dim, (num_codes + 1) // 2)


def _embedding(num_codes: int, max_dim: int) -> nn.Embedding:
    embedding = nn.Embedding(num_codes, _dim(num_codes, max_dim))
    nn.init.normal_(embedding.weight, std=0.1)  # the default of 1 drowns the numeric features at first
    with torch.no_grad():
        embedding.weight[[MISSING_CODE, UNKNOWN_CODE]] = 0
    return embedding


def _token_embedding(num_codes: int, max_dim: int) -> nn.Embedding:
    embedding = nn.Embedding(num_codes, _dim(num_codes, max_dim))
    nn.init.zeros_(embedding.weight)  # most buckets of a hash may meet no token in training
    return embedding


def _mean(embedding: nn.Module, tokens_BL: Tensor) -> Tensor:
    """Mean embedding (B, D) of the tokens that are there; 0 where there are none."""
    is_token_BL1 = (tokens_BL != PAD_TOKEN).unsqueeze(2).to(torch.float32)
    summed_BD = (embedding(tokens_BL) * is_token_BL1).sum(dim=1)
    return summed_BD / is_token_BL1.sum(dim=1).clamp(min=1.0)
