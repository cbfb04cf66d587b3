"""One step of every lane: forward, backward, clip, step. Nothing in it waits for the device.

Shape letters: L lanes, B rows of a batch, P weights of a lane, K outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.config import Experiment
from training.data.prepared import Facts, Part
from training.search.fused.batches import LaneBatch
from training.search.fused.dropout import MaskDrawer
from training.search.fused.loss import LaneLoss
from training.search.fused.optimizer import Course, adamw_step, clip, coefficients, sgd_step
from training.search.fused.template import Template, probabilities
from training.search.fused.tensors import LaneTensors
from training.train_config import TrainConfig


class LaneStep:
    """Makes steps on the tensors of a stack.

    Args:
        config: of any of the lanes.
        facts: of the data.
        train: the rows that are trained on.
        template: of the stack.
        tensors: that are changed.
        device: where they are.
    """

    def __init__(
        self, config: TrainConfig, facts: Facts, train: Part, template: Template, tensors: LaneTensors,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._config, self._template, self._tensors, self._device = config, template, tensors, device
        self._num_steps = -(-len(train) // config.global_batch_size)
        self._loss = LaneLoss(config, facts, train, device)
        self._drawer = MaskDrawer(device)
        self._experiments: Sequence[Experiment] = ()
        self._plan: dict[str, Tensor] = {}
        self._smoothing_L: Tensor | None = None
        self._l1_L: Tensor | None = None

    def begin(self, courses: Sequence[Course], experiments: Sequence[Experiment]) -> None:
        """An epoch, or the rest of one, of these lanes."""
        self._experiments = experiments
        self._plan = coefficients(courses, self._num_steps, self._device)
        self._smoothing_L = self._numbers([course.config.label_smoothing for course in courses])
        self._l1_L = self._numbers([course.config.l1 for course in courses])

    def __call__(self, batch: LaneBatch, epochs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Losses and gradients' norms before clipping, (L,) each, still on the device; lanes are at (seed, epoch)."""
        self._template.model.train()
        weights_LP = self._tensors.weights
        leaf_LP = weights_LP.detach().requires_grad_()
        state = self._template.layout.views(leaf_LP) | self._tensors.fixed
        with torch.enable_grad():
            output_LBK = self._template.forward(state, batch.tensors, batch.is_shared, self._masks(batch, epochs))
            loss_L = self._loss(output_LBK, batch.target, self._smoothing_L)
            if self._l1_L is not None:
                loss_L = loss_L + self._l1_L * leaf_LP[:, : self._template.layout.num_decayed].abs().sum(dim=1)
            (gradients_LP,) = torch.autograd.grad(loss_L.sum(), leaf_LP)
        number = batch.start // self._config.global_batch_size
        now = {name: values[number] for name, values in self._plan.items()}
        norm_L = clip(gradients_LP, now["max_norm"])
        self._move(weights_LP, gradients_LP, now)
        return loss_L.detach(), norm_L

    def answers(self, tensors: Sequence[Tensor]) -> Tensor:
        """What every lane's model gives for the same rows, (L, B, K)."""
        self._template.model.eval()
        state = self._template.layout.views(self._tensors.weights) | self._tensors.fixed
        return self._template.forward(state, tensors, True, ())

    def _move(self, weights_LP: Tensor, gradients_LP: Tensor, now: dict[str, Tensor]) -> None:
        moments, num_decayed = self._tensors.moments, self._template.layout.num_decayed
        if self._config.optimizer.kind == "adamw":
            adamw_step(weights_LP, gradients_LP, moments, now, num_decayed)
        else:
            nesterov = self._config.optimizer.nesterov
            sgd_step(weights_LP, gradients_LP, moments, now, num_decayed, nesterov=nesterov)

    def _masks(self, batch: LaneBatch, epochs: Sequence[tuple[int, int]]) -> list[Tensor | None]:
        of_a_lane = batch.tensors if batch.is_shared else tuple(tensor[0] for tensor in batch.tensors)
        sites = self._template.sites(of_a_lane)
        # The place that a training by itself seeds torch with: seed, epoch, samples, rank.
        places = [(seed, epoch, batch.start, 0) for seed, epoch in epochs]
        return self._drawer.draw(sites, [probabilities(one, sites) for one in self._experiments], places)

    def _numbers(self, values: Sequence[float]) -> Tensor | None:
        """As a tensor (L,); None where all are 0."""
        return torch.tensor(values, device=self._device) if any(values) else None
