"""A Transformer over the columns of a table. Shape letters: B batch, F numeric features, C categorical columns,
T texts, L tokens of a text, S columns and the one that answers, D width, K outputs.

Source: Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, 2021.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.model_config import FtTransformerConfig
from training.models.attention import Block, BlockShape
from training.models.inputs import ModelInputs
from training.models.table_stem import mean_of_tokens, zero_the_unknown


class FtTransformer(nn.Module):
    """Every column becomes a token, tokens look at each other, and a token of its own (CLS) answers."""

    def __init__(self, inputs: ModelInputs, config: FtTransformerConfig) -> None:
        super().__init__()
        self.tokenizer = FeatureTokenizer(inputs.num_numeric, inputs.num_codes, inputs.num_tokens, config.dim)
        shape = BlockShape(
            dim=config.dim,
            heads=config.heads,
            ffn_dim=round(config.dim * config.ffn_factor),
            activation=config.activation,
            attention_dropout=config.attention_dropout,
            ffn_dropout=config.ffn_dropout,
            residual_dropout=config.residual_dropout,
        )
        self.blocks = nn.ModuleList(Block(shape) for _ in range(config.blocks))
        self.head = nn.Sequential(nn.LayerNorm(config.dim), nn.ReLU(), nn.Linear(config.dim, inputs.num_outputs))

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K) from those of `numeric`, `categorical`, `tokens` that there are."""
        hidden_BSD = self.tokenizer(*tensors)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            hidden_BSD = block(hidden_BSD, None, 1 if i == last else None)
        return self.head(hidden_BSD[:, 0])


class FeatureTokenizer(nn.Module):
    """A row of a table as tokens: CLS first, then a token a column, each with a bias of its own.

    A number's is its weight times the number; a category's is its embedding, a text's the mean of its words'. A code
    that training never meets has the embedding 0, so that only the bias is left.
    """

    def __init__(self, num_numeric: int, num_codes: Sequence[int], num_tokens: Sequence[int], dim: int) -> None:
        super().__init__()
        num_columns = num_numeric + len(num_codes) + len(num_tokens)
        self.number_FD = _drawn(num_numeric, dim)
        self.code_VD = _drawn(sum(num_codes), dim)
        # Most buckets of a hash may meet no token in training.
        self.text_VD = nn.Parameter(torch.zeros(sum(num_tokens), dim)) if num_tokens else None
        self.bias_SD = nn.Parameter(nn.init.uniform_(torch.empty(1 + num_columns, dim), -(dim**-0.5), dim**-0.5))
        self.no_weight_decay = frozenset(name for name, _ in self.named_parameters())  # as in the paper
        self.first_code_C = nn.Buffer(_starts(num_codes), persistent=False)
        self.first_token_T = nn.Buffer(_starts(num_tokens), persistent=False)
        if self.code_VD is not None:
            for start in _starts(num_codes).tolist():
                zero_the_unknown(self.code_VD.detach()[start:])

    def forward(self, *tensors: Tensor) -> Tensor:
        """Tokens (B, S, D) from those of `numeric` (B, F), `categorical` (B, C), `tokens` (B, T, L) that there are."""
        rest = iter(tensors)
        parts: list[Tensor] = []
        if self.number_FD is not None:
            parts.append(next(rest).unsqueeze(2) * self.number_FD)
        if self.code_VD is not None:
            parts.append(nn.functional.embedding(next(rest) + self.first_code_C, self.code_VD))
        if self.text_VD is not None:
            parts.append(self._texts(next(rest), self.text_VD))
        columns_BSD = torch.cat(parts, dim=1) + self.bias_SD[1:]
        answering_B1D = self.bias_SD[:1].expand(columns_BSD.shape[0], 1, -1).to(columns_BSD.dtype)
        return torch.cat([answering_B1D, columns_BSD], dim=1)

    def _texts(self, tokens_BTL: Tensor, text_VD: Tensor) -> Tensor:
        embedded_BTLD = nn.functional.embedding(tokens_BTL + self.first_token_T[:, None], text_VD)
        means = mean_of_tokens(embedded_BTLD.flatten(0, 1), tokens_BTL.flatten(0, 1))
        return means.unflatten(0, tokens_BTL.shape[:2])


def _drawn(num_rows: int, dim: int) -> nn.Parameter | None:
    if not num_rows:
        return None
    return nn.Parameter(nn.init.uniform_(torch.empty(num_rows, dim), -(dim**-0.5), dim**-0.5))


def _starts(sizes: Sequence[int]) -> Tensor:
    """Where each column's codes begin in the table of all columns."""
    return torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.int64)
