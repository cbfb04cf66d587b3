"""A residual network for tables. Shape letters: B batch, D width, K outputs.

Source: Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, 2021.
"""

from torch import Tensor, nn

from training.model_config import TableResNetConfig
from training.models.batch_norm import BatchNorm
from training.models.inputs import ModelInputs
from training.models.table_stem import TableStem


class TableResNet(nn.Module):
    """A linear layer, residual blocks that normalise first, and a normalised linear head."""

    def __init__(self, inputs: ModelInputs, config: TableResNetConfig) -> None:
        super().__init__()
        self.stem = TableStem(inputs.num_numeric, inputs.num_codes, inputs.num_tokens, config.max_embedding_dim)
        self.first = nn.Linear(self.stem.width, config.dim)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.head = nn.Sequential(_norm(config), nn.ReLU(), nn.Linear(config.dim, inputs.num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K) from those of `numeric`, `categorical`, `tokens` that there are."""
        hidden_BD = self.first(self.stem(*tensors))
        for block in self.blocks:
            hidden_BD = block(hidden_BD)
        return self.head(hidden_BD)


class _Block(nn.Module):
    """x + dropout(linear(dropout(relu(linear(norm(x))))))."""

    def __init__(self, config: TableResNetConfig) -> None:
        super().__init__()
        inner = round(config.dim * config.hidden_factor)
        self.branch = nn.Sequential(
            _norm(config),
            nn.Linear(config.dim, inner),
            nn.ReLU(),
            nn.Dropout(config.hidden_dropout),
            nn.Linear(inner, config.dim),
            nn.Dropout(config.residual_dropout),
        )

    def forward(self, hidden_BD: Tensor) -> Tensor:
        return hidden_BD + self.branch(hidden_BD)


def _norm(config: TableResNetConfig) -> nn.Module:
    return BatchNorm(config.dim) if config.norm == "batch" else nn.LayerNorm(config.dim)
