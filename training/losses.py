"""What training makes small: a mean over rows, in which rows and classes may count more or less.

Every weight has the mean 1 over an epoch, not over a batch. A mean over workers' shares of a batch is then the mean
of the batch whoever holds which rows, and a batch without a rare class does not make its common rows count more.
Shape letters: B rows of a batch, M members of an ensemble, K outputs or classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.prepared import Facts
from training.draws import Use, poisson_1, stream_key
from training.learning_config import LossConfig
from training.train_config import TrainConfig


@dataclass(frozen=True)
class Wanted:
    """What a model should answer for a batch. Mixed rows have two answers."""

    target_B: Tensor
    other_B: Tensor | None = None
    share_B: Tensor | None = None  # of `target_B`; the rest is `other_B`'s


class Loss:
    """The loss of one training, called with a model's output in training mode.

    Args:
        config: which loss, and the seed of the bootstraps.
        facts: task, and a regression's scale.
        class_weight_K: what rows of each class count, or None; see `class_weights`.
        num_members: models in an ensemble; 0 for a single model.
    """

    def __init__(
        self, config: TrainConfig, facts: Facts, class_weight_K: Tensor | None = None, num_members: int = 0
    ) -> None:
        self._config, self._facts = config, facts
        self._class_weight_K, self._num_members = class_weight_K, num_members
        self._bootstrap_key = stream_key(config.seed, Use.BOOTSTRAP)

    def __call__(self, output: Tensor, wanted: Wanted, ids_B: Tensor) -> Tensor:
        """The mean over rows, and over members.

        Args:
            output: logits (B, K), or (B, M, K) of an ensemble; K is 1 for a regression.
            wanted: what it should be.
            ids_B: number of each row among the training rows: each member has a bootstrap of its own over them.
        """
        each = self._each(output, wanted.target_B)
        if wanted.other_B is not None and wanted.share_B is not None:
            share = wanted.share_B[:, None] if self._num_members else wanted.share_B
            each = share * each + (1 - share) * self._each(output, wanted.other_B)
        if self._num_members:
            each = each * poisson_1(self._bootstrap_key, ids_B, self._num_members)
        return each.mean()

    def _each(self, output: Tensor, target_B: Tensor) -> Tensor:
        """Loss of each row (B,), or of each row and member (B, M)."""
        if self._num_members:
            flat = self._each_row(output.flatten(0, 1), target_B.repeat_interleave(self._num_members))
            return flat.view(-1, self._num_members)
        return self._each_row(output, target_B)

    def _each_row(self, logits_BK: Tensor, target_B: Tensor) -> Tensor:
        if self._facts.task == "regression":
            scaled_B = (target_B - self._facts.target_mean) / self._facts.target_scale
            return F.mse_loss(logits_BK[:, 0], scaled_B, reduction="none")
        loss_B = classification_loss(logits_BK, target_B, self._config.loss, self._config.label_smoothing)
        return loss_B if self._class_weight_K is None else loss_B * self._class_weight_K[target_B]


def classification_loss(logits_BK: Tensor, target_B: Tensor, loss: LossConfig, label_smoothing: float) -> Tensor:
    """Cross-entropy of each row (B,), or focal loss: Lin et al., Focal Loss for Dense Object Detection, 2017."""
    cross_entropy_B = F.cross_entropy(logits_BK, target_B, reduction="none", label_smoothing=label_smoothing)
    if loss.kind != "focal" or loss.gamma == 0:
        return cross_entropy_B
    log_right_B = F.log_softmax(logits_BK, dim=1).gather(1, target_B[:, None])[:, 0]
    # Of a row that is right beyond float32 nothing is left, and the slope of 0 ** gamma may be infinite.
    wrong_B = (-torch.expm1(log_right_B)).clamp_min(1e-7)
    return wrong_B**loss.gamma * cross_entropy_B


def class_weights(
    config: TrainConfig, labels: tuple[str, ...], counts_K: np.ndarray, *, drawn_equally: bool
) -> Tensor | None:
    """What rows of each class count, float32 (K,), with mean 1 over the rows that are drawn; None: all the same.

    Args:
        config: which weights.
        labels: classes in the order of their ids; those that the config leaves out of a mapping count 1.
        counts_K: training rows of each class.
        drawn_equally: every class is drawn equally often, so that balanced weights are 1.
    """
    wished = config.imbalance.class_weights
    if wished is None:
        return None
    drawn_K = (counts_K > 0).astype(np.float64) if drawn_equally else counts_K.astype(np.float64)
    share_K = drawn_K / drawn_K.sum()
    if wished == "balanced":
        weight_K = np.divide(1.0, share_K, out=np.zeros_like(share_K), where=share_K > 0)
    else:
        weight_K = np.array([wished.get(label, 1.0) for label in labels])
    return torch.from_numpy((weight_K / (weight_K * share_K).sum()).astype(np.float32))
