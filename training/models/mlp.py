"""A multilayer perceptron for tables.

Shape letters: B batch, F numeric features, C categorical columns, T texts, L tokens of a text, K outputs.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from training.models.table_stem import TableStem


class Mlp(nn.Module):
    """Hidden layers with ReLU over numbers, embeddings of categories, and mean embeddings of texts."""

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
        self.stem = TableStem(num_numeric, num_codes, num_tokens, max_embedding_dim)
        layers: list[nn.Module] = []
        width = self.stem.width
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K) from `numeric` (B, F), `categorical` (B, C), `tokens` (B, T, L); some may be absent."""
        return self.layers(self.stem(*tensors))
