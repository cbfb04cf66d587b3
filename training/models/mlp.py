"""A multilayer perceptron for tables. Shape letters: B batch, F numeric features, C categorical columns, K outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """Hidden layers with ReLU over numeric features and the embeddings of categorical ones."""

    def __init__(
        self,
        num_numeric: int,
        num_codes: Sequence[int],
        num_outputs: int,
        hidden: Sequence[int],
        dropout: float,
        max_embedding_dim: int,
    ) -> None:
        super().__init__()
        self.has_numeric = num_numeric > 0
        dims = [min(max_embedding_dim, (codes + 1) // 2) for codes in num_codes]
        embeddings = [nn.Embedding(codes, dim) for codes, dim in zip(num_codes, dims, strict=True)]
        self.embeddings = nn.ModuleList(embeddings)
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.1)  # the default of 1 drowns the numeric features at first
        layers: list[nn.Module] = []
        width = num_numeric + sum(dims)
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K) from `numeric` (B, F) and `categorical` codes (B, C), of which either may be absent."""
        parts = [tensors[0]] if self.has_numeric else []
        if self.embeddings:
            codes_BC = tensors[-1]
            parts += [embedding(codes_BC[:, i]) for i, embedding in enumerate(self.embeddings)]
        return self.layers(torch.cat(parts, dim=1))
