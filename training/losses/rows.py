"""The loss of each row by itself, by task; weights come after.

Shape letters: B rows of a batch, K outputs, classes or labels, L places of a text, V tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.learning_config import LossConfig
from training.package.byte_tokens import IGNORED


def classification_loss(logits_BK: Tensor, target_B: Tensor, loss: LossConfig, label_smoothing: float) -> Tensor:
    """Cross-entropy of each row (B,), or focal loss: Lin et al., Focal Loss for Dense Object Detection, 2017."""
    cross_entropy_B = F.cross_entropy(logits_BK, target_B, reduction="none", label_smoothing=label_smoothing)
    if loss.kind != "focal" or loss.gamma == 0:
        return cross_entropy_B
    log_right_B = F.log_softmax(logits_BK, dim=1).gather(1, target_B[:, None])[:, 0]
    return _wrong(log_right_B) ** loss.gamma * cross_entropy_B


def label_loss(logits_BK: Tensor, target_BK: Tensor, loss: LossConfig, label_smoothing: float) -> Tensor:
    """Cross-entropy of each label by itself (B, K), or its focal form; smoothing moves a truth towards one half."""
    smooth_BK = target_BK * (1 - label_smoothing) + label_smoothing / 2
    cross_entropy_BK = F.binary_cross_entropy_with_logits(logits_BK, smooth_BK, reduction="none")
    if loss.kind != "focal" or loss.gamma == 0:
        return cross_entropy_BK
    log_right_BK = F.logsigmoid(torch.where(target_BK > 0.5, logits_BK, -logits_BK))
    return _wrong(log_right_BK) ** loss.gamma * cross_entropy_BK


def value_loss(predicted_B: Tensor, target_B: Tensor, loss: LossConfig) -> Tensor:
    """Of a number (B,): squared, Huber's (Ann. Math. Statist. 35, 1964), or the pinball loss of a quantile."""
    match loss.kind:
        case "huber":
            return F.huber_loss(predicted_B, target_B, reduction="none", delta=loss.delta)
        case "quantile":
            return pinball(predicted_B, target_B, loss.quantile)
    return F.mse_loss(predicted_B, target_B, reduction="none")


def pinball(predicted_B: Tensor, target_B: Tensor, quantile: float) -> Tensor:
    """The loss (B,) that a quantile makes smallest (Koenker and Bassett, Econometrica 46, 1978)."""
    short_B = target_B - predicted_B
    return torch.maximum(quantile * short_B, (quantile - 1) * short_B)


def next_token_loss(logits_BLV: Tensor, target_BL: Tensor, label_smoothing: float) -> Tensor:
    """Sum of the cross-entropies of a row's tokens (B,); places without a next token count nothing."""
    each_BL = F.cross_entropy(
        logits_BLV.flatten(0, 1), target_BL.flatten(), ignore_index=IGNORED, reduction="none",
        label_smoothing=label_smoothing,
    ).view_as(target_BL)  # fmt: skip
    return each_BL.sum(dim=1)


def _wrong(log_right: Tensor) -> Tensor:
    # Of a row that is right beyond float32 nothing is left, and the slope of 0 ** gamma may be infinite.
    return (-torch.expm1(log_right)).clamp_min(1e-7)
