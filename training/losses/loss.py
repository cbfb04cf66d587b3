"""What training makes small: a mean over rows, in which rows and classes may count more or less.

Every weight has the mean 1 over an epoch, not over a batch. A mean over workers' shares of a batch is then the mean
of the batch whoever holds which rows, and a batch without a rare class does not make its common rows count more.
Shape letters: B rows of a batch, M members of an ensemble, K outputs, classes or labels, L places of a text, V tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data.prepared import Facts
from training.draws import Use, poisson_1, stream_key
from training.errors import ConfigError
from training.losses.own import OwnLoss
from training.losses.rows import classification_loss, label_loss, next_token_loss, value_loss
from training.train_config import TrainConfig


@dataclass(frozen=True)
class Wanted:
    """What a model should answer for a batch: (B,), (B, K) or (B, L), see `Part`. Mixed rows have two answers."""

    target_B: Tensor
    other_B: Tensor | None = None
    share_B: Tensor | None = None  # of `target_B`; the rest is `other_B`'s

    def of(self, rows: slice) -> "Wanted":
        """Of some of the rows."""
        other_B, share_B = self.other_B, self.share_B
        return Wanted(
            self.target_B[rows],
            None if other_B is None else other_B[rows],
            None if share_B is None else share_B[rows],
        )


class Loss:
    """The loss of one training, called with a model's output in training mode. It reads nothing from the device.

    Args:
        config: which loss, and the seed of the bootstraps.
        facts: task, and a regression's scale.
        weight: what `loss_weights` gives for the task: of classes (K,), of absent and present labels (2, K), or of a
            token (); None: everything counts the same.
        num_members: models in an ensemble; 0 for a single model.
        code_path: folder that a loss function of one's own is imported from, besides the usual places.

    Raises:
        ConfigError: that function cannot be imported; when first called, also where the model's output has another
            shape than it must have, and see `OwnLoss`.
    """

    def __init__(
        self, config: TrainConfig, facts: Facts, weight: Tensor | None = None, num_members: int = 0,
        code_path: str = "",
    ) -> None:  # fmt: skip
        self._config, self._facts = config, facts
        self._weight, self._num_members = weight, num_members
        self._bootstrap_key = stream_key(config.seed, Use.BOOTSTRAP)
        self._is_checked = False
        self._own = OwnLoss(config.loss.target, code_path) if config.loss.target is not None else None
        assert weight is not None or facts.task != "language_modelling", "a token counts by how many a row has"

    def __call__(self, output: Tensor, wanted: Wanted, ids_B: Tensor) -> Tensor:
        """The mean over rows, and over members.

        Args:
            output: logits (B, K), or (B, M, K) of an ensemble; K is 1 for a regression; (B, L, V) of a language model.
            wanted: what it should be.
            ids_B: number of each row among the training rows: each member has a bootstrap of its own over them.
        """
        if not self._is_checked:
            self._require_shape(output, wanted.target_B)
            self._is_checked = True
        output = output.float()  # sums of many terms in 16 bits would lose their last digits
        each = self._each(output, wanted.target_B)
        if wanted.other_B is not None and wanted.share_B is not None:
            share = wanted.share_B[:, None] if self._num_members else wanted.share_B
            each = share * each + (1 - share) * self._each(output, wanted.other_B)
        if self._num_members:
            each = each * poisson_1(self._bootstrap_key, ids_B, self._num_members)
        return each.mean()

    def _require_shape(self, output: object, target_B: Tensor) -> None:
        """Of a model of somebody's own. A regression would else learn from the first of several outputs alone."""
        if self._facts.task == "language_modelling":
            return  # whose cross-entropy refuses another shape
        wanted = (len(target_B), *([self._num_members] if self._num_members else []), self._facts.num_outputs)
        if isinstance(output, Tensor) and output.shape == wanted:
            return
        got = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ConfigError(
            f"the model gives {got} for {len(target_B)} rows in training, must be a tensor {wanted}",
            "mend the forward of model.target; a class that takes `inputs` is told num_outputs",
        )

    def _each(self, output: Tensor, target_B: Tensor) -> Tensor:
        """Loss of each row (B,), or of each row and member (B, M)."""
        if self._num_members:
            flat = self._each_row(output.flatten(0, 1), target_B.repeat_interleave(self._num_members, dim=0))
            return flat.view(-1, self._num_members)
        return self._each_row(output, target_B)

    def _each_row(self, output: Tensor, target_B: Tensor) -> Tensor:
        match self._facts.task:
            case "classification":
                loss_B = self._of_classes(output, target_B)
                return loss_B if self._weight is None else loss_B * self._weight[target_B]
            case "multilabel":
                return self._of_labels(output, target_B)
            case "language_modelling":
                assert self._weight is not None
                return next_token_loss(output, target_B, self._config.label_smoothing) * self._weight
        scaled_B = (target_B - self._facts.target_mean) / self._facts.target_scale
        return self._own(output, scaled_B) if self._own else value_loss(output[:, 0], scaled_B, self._config.loss)

    def _of_classes(self, logits_BK: Tensor, target_B: Tensor) -> Tensor:
        if self._own:
            return self._own(logits_BK, target_B)
        return classification_loss(logits_BK, target_B, self._config.loss, self._config.label_smoothing)

    def _of_labels(self, logits_BK: Tensor, target_BK: Tensor) -> Tensor:
        """The mean over labels of each row (B,)."""
        if self._own:
            return self._own(logits_BK, target_BK)
        each_BK = label_loss(logits_BK, target_BK, self._config.loss, self._config.label_smoothing)
        if self._weight is not None:
            each_BK = each_BK * torch.where(target_BK > 0.5, self._weight[1], self._weight[0])
        return each_BK.mean(dim=1)
