"""Scores of a language model: sums over tokens, never the tokens themselves.

Shape letters: N rows, B rows of a batch, L places of a text, V tokens.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from training.package.byte_tokens import FIRST_BYTE, IGNORED


class TokenSums(Metric):
    """Nats, and tokens, bytes and right answers counted; they add up over batches and workers."""

    full_state_update = False
    nats: Tensor
    counts_3: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts_3", default=torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits_BLV: Tensor, target_BL: Tensor) -> None:
        """Add rows: logits of the next token at each place, and that token, `IGNORED` where there is none."""
        each = F.cross_entropy(logits_BLV.flatten(0, 1), target_BL.flatten(), ignore_index=IGNORED, reduction="none")
        self.nats += each.double().sum()
        right_BL = logits_BLV.argmax(dim=2) == target_BL
        found = (target_BL != IGNORED, target_BL >= FIRST_BYTE, right_BL)
        self.counts_3 += torch.stack([is_BL.sum() for is_BL in found])

    def compute(self) -> tuple[Tensor, Tensor]:
        """The nats; and tokens, bytes, and tokens answered right (3,)."""
        return self.nats, self.counts_3


def token_scores(nats: float, num_tokens: int, num_bytes: int) -> dict[str, float]:
    """Nats a token, its exponential, and bits a byte, in which texts cut into other tokens can be compared."""
    log_loss = nats / max(num_tokens, 1)
    return {
        "log_loss": log_loss,
        "perplexity": math.exp(log_loss) if log_loss < 700 else math.inf,
        "bits_per_byte": nats / max(num_bytes, 1) / math.log(2),
    }


def scores_of_texts(log_likelihood_N: np.ndarray, counts_N2: np.ndarray) -> dict[str, float]:
    """Scores of whole texts from what a package answers.

    Args:
        log_likelihood_N: mean log-likelihood a byte of each text.
        counts_N2: tokens and bytes of each text.
    """
    nats = -(log_likelihood_N.astype(np.float64) * np.maximum(counts_N2[:, 1], 1)).sum()
    return token_scores(float(nats), int(counts_N2[:, 0].sum()), int(counts_N2[:, 1].sum()))
