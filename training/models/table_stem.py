"""Where a table enters a network: numbers, embeddings of categories, mean embeddings of texts, in one vector.

Shape letters: B batch, F numeric features, C categorical columns, T texts, L tokens of a text, D width of an
embedding, W width of all together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.package.fitted import MISSING_CODE, PAD_TOKEN, UNKNOWN_CODE


class TableStem(nn.Module):
    """A row of a table as one vector.

    A code that training never meets keeps the embedding 0, so that what is unknown moves the answer nowhere.
    """

    def __init__(
        self, num_numeric: int, num_codes: Sequence[int], num_tokens: Sequence[int], max_embedding_dim: int
    ) -> None:
        super().__init__()
        self.has_numeric = num_numeric > 0
        self.embeddings = nn.ModuleList(_embedding(codes, max_embedding_dim) for codes in num_codes)
        self.token_embeddings = nn.ModuleList(_token_embedding(codes, max_embedding_dim) for codes in num_tokens)
        widths = [_dim(codes, max_embedding_dim) for codes in (*num_codes, *num_tokens)]
        self.width = num_numeric + sum(widths)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Vectors (B, W) from `numeric` (B, F), `categorical` (B, C), `tokens` (B, T, L); some may be absent."""
        rest = iter(tensors)
        parts = [next(rest)] if self.has_numeric else []
        if self.embeddings:
            codes_BC = next(rest)
            parts += [embedding(codes_BC[:, i]) for i, embedding in enumerate(self.embeddings)]
        if self.token_embeddings:
            tokens_BTL = next(rest)
            for i, embedding in enumerate(self.token_embeddings):
                parts.append(mean_of_tokens(embedding(tokens_BTL[:, i]), tokens_BTL[:, i]))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def zero_the_unknown(weight: Tensor) -> None:
    """Set the embeddings of the codes that training never learns from to 0. The first axis is the code."""
    with torch.no_grad():
        weight[[MISSING_CODE, UNKNOWN_CODE]] = 0


def mean_of_tokens(embedded_BLD: Tensor, tokens_BL: Tensor) -> Tensor:
    """Mean embedding (B, D) of the tokens that are there; 0 where there are none."""
    is_token_BL1 = (tokens_BL != PAD_TOKEN).unsqueeze(2).to(embedded_BLD.dtype)
    summed_BD = (embedded_BLD * is_token_BL1).sum(dim=1)
    return summed_BD / is_token_BL1.sum(dim=1).clamp(min=1.0)


def _dim(num_codes: int, max_dim: int) -> int:
    return min(max_dim, (num_codes + 1) // 2)


def _embedding(num_codes: int, max_dim: int) -> nn.Embedding:
    embedding = nn.Embedding(num_codes, _dim(num_codes, max_dim))
    nn.init.normal_(embedding.weight, std=0.1)  # the default of 1 drowns the numeric features at first
    zero_the_unknown(embedding.weight)
    return embedding


def _token_embedding(num_codes: int, max_dim: int) -> nn.Embedding:
    embedding = nn.Embedding(num_codes, _dim(num_codes, max_dim))
    nn.init.zeros_(embedding.weight)  # most buckets of a hash may meet no token in training
    return embedding
