"""A Transformer that reads texts. Shape letters: B batch, T texts, L tokens of a text, S tokens of all texts and the
one before them, D width, K outputs.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from training.model_config import TransformerConfig
from training.models.attention import Block, BlockShape, initialise_like_gpt2
from training.models.inputs import ModelInputs
from training.models.table_stem import TableStem
from training.package.fitted import PAD_TOKEN


class TextTransformer(nn.Module):
    """The tokens of a row's texts, one text behind the other, see each other; what they became is pooled.

    A token of its own stands before them, so that a row without any text has something to look at. What else the row
    has, numbers and categories, joins the pooled vector before the head.
    """

    def __init__(self, inputs: ModelInputs, config: TransformerConfig) -> None:
        super().__init__()
        dropout = config.dropout
        shape = BlockShape(config.dim, config.heads, 4 * config.dim, "gelu", dropout, dropout, dropout)
        self.pool: Literal["mean", "cls"] = config.pool
        self.token_embedding = nn.Embedding(sum(inputs.num_tokens), config.dim)
        self.place_embedding = nn.Embedding(1 + len(inputs.num_tokens) * inputs.text_length, config.dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, inputs.num_outputs)
        initialise_like_gpt2(self, config.layers)
        starts = [sum(inputs.num_tokens[:i]) for i in range(len(inputs.num_tokens))]
        self.first_token_T1 = nn.Buffer(torch.tensor(starts)[:, None], persistent=False)
        self.beside: _Beside | None = None
        if inputs.num_numeric or inputs.num_codes:
            self.beside = _Beside(TableStem(inputs.num_numeric, inputs.num_codes, (), config.max_embedding_dim), config)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K) from `tokens` (B, T, L), behind those of `numeric` and `categorical` that there are."""
        *table, tokens_BTL = tensors
        pooled_BD = self._pooled(tokens_BTL)
        if self.beside is not None:
            pooled_BD = self.beside(pooled_BD, *table)
        return self.head(pooled_BD)

    def _pooled(self, tokens_BTL: Tensor) -> Tensor:
        is_token_BS = nn.functional.pad((tokens_BTL != PAD_TOKEN).flatten(1), (1, 0), value=True)
        embedded_BSD = self.token_embedding((tokens_BTL + self.first_token_T1).flatten(1))
        hidden_BSD = nn.functional.pad(embedded_BSD, (0, 0, 1, 0)) + self.place_embedding.weight
        hidden_BSD = self.dropout(hidden_BSD)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            only_first = self.pool == "cls" and i == last
            hidden_BSD = block(hidden_BSD, is_token_BS, 1 if only_first else None)
        hidden_BSD = self.norm(hidden_BSD)
        if self.pool == "cls":
            return hidden_BSD[:, 0]
        is_token_B1S = is_token_BS.unsqueeze(1).to(hidden_BSD.dtype)
        # A product, not a sum over an axis: onnxruntime adds such a sum in another order where there is a single row.
        return (is_token_B1S @ hidden_BSD).squeeze(1) / is_token_B1S.sum(dim=2)


class _Beside(nn.Module):
    """Mixes what the texts say with what else is known of a row."""

    def __init__(self, stem: TableStem, config: TransformerConfig) -> None:
        super().__init__()
        self.stem = stem
        self.mix = nn.Sequential(nn.Linear(config.dim + stem.width, config.dim), nn.ReLU(), nn.Dropout(config.dropout))

    def forward(self, pooled_BD: Tensor, *table: Tensor) -> Tensor:
        return self.mix(torch.cat([pooled_BD, self.stem(*table)], dim=1))
