"""What each lane makes small: the losses of `training.losses`, of all lanes at once.

Shape letters: L lanes, B rows of a batch, K outputs, classes or labels.
"""

import torch
from torch import Tensor

from training.data.prepared import Facts, Part
from training.losses import classification_loss, loss_weights
from training.losses.rows import label_loss, value_loss
from training.train_config import TrainConfig


class LaneLoss:
    """The mean loss of each lane's rows (L,); it is `training.losses.Loss` with label smoothing a lane's own.

    Args:
        config: of any of the lanes: which loss, and what classes count.
        facts: of the data.
        train: the rows that are trained on.
        device: of the lanes.
    """

    def __init__(self, config: TrainConfig, facts: Facts, train: Part, device: torch.device) -> None:
        self._config, self._facts = config, facts
        drawn_equally = facts.task == "classification" and config.imbalance.sampling == "balanced"
        weight = loss_weights(config, facts, train, drawn_equally=drawn_equally)
        self._weight = None if weight is None else weight.to(device)

    def __call__(self, output_LBK: Tensor, target: Tensor, smoothing_L: Tensor | None) -> Tensor:
        """Losses (L,).

        Args:
            output_LBK: of the model in training.
            target: (L, B), of several labels (L, B, K).
            smoothing_L: of each lane's labels; None: none of them is smoothed.
        """
        if self._facts.task == "regression":
            scaled_LB = (target - self._facts.target_mean) / self._facts.target_scale
            return value_loss(output_LBK[:, :, 0], scaled_LB, self._config.loss).mean(dim=1)
        if self._config.loss.kind == "focal":  # whose lanes share their smoothing
            return self._each(output_LBK, target, self._config.label_smoothing).mean(dim=1)
        plain_LB = self._each(output_LBK, target, 0.0)
        if smoothing_L is None:
            return plain_LB.mean(dim=1)
        # Cross-entropy is linear in the truth, and so in the share that is spread.
        return plain_LB.lerp(self._each(output_LBK, target, 1.0), smoothing_L[:, None]).mean(dim=1)

    def _each(self, output_LBK: Tensor, target: Tensor, smoothing: float) -> Tensor:
        """Loss of each lane and row (L, B)."""
        if self._facts.task == "classification":
            # Classes first: torch's softmax over a short last axis takes five times as long.
            loss_LB = classification_loss(output_LBK.transpose(1, 2), target, self._config.loss, smoothing)
            return loss_LB if self._weight is None else loss_LB * self._weight[target]
        each_LBK = label_loss(output_LBK, target, self._config.loss, smoothing)
        if self._weight is not None:
            each_LBK = each_LBK * torch.where(target > 0.5, self._weight[1], self._weight[0])
        return each_LBK.mean(dim=2)
