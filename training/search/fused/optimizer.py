"""One step of all lanes' optimizers on one matrix, each lane with its own rate, decay and means.

Shape letters: L lanes, S steps of an epoch, P weights of a lane, D of them that weight decay acts on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.optim.schedule import Schedule
from training.train_config import TrainConfig

MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}


@dataclass(frozen=True)
class Course:
    """What the optimizer of one lane is to do from a step on."""

    config: TrainConfig
    schedule: Schedule
    first_step: int


def coefficients(courses: Sequence[Course], num_steps: int, device: torch.device) -> dict[str, Tensor]:
    """What each step of each lane is made with, (S, L, 1) float32 by name: one transfer to the device an epoch."""
    configs = [course.config for course in courses]
    step_SL = np.array([course.first_step for course in courses]) + np.arange(num_steps)[:, None]
    rate_SL = _of_steps(step_SL, [course.schedule.rate for course in courses])
    most_L = np.array([math.inf if config.max_grad_norm is None else config.max_grad_norm for config in configs])
    shared = {
        "max_norm": np.broadcast_to(most_L, step_SL.shape),
        "kept": 1 - rate_SL * np.array([config.weight_decay for config in configs]),
    }
    of_kind = _adamw if configs[0].optimizer.kind == "adamw" else _sgd
    found = shared | of_kind(courses, step_SL, rate_SL)
    numbers = torch.from_numpy(np.stack(list(found.values())).astype(np.float32)).to(device)
    return {name: values_SL[:, :, None] for name, values_SL in zip(found, numbers, strict=True)}


def _of_steps(step_SL: np.ndarray, functions: Sequence[Callable[[int], float | None]]) -> np.ndarray:
    """Each lane's own function of its steps; NaN where it gives none."""
    rows = [[function(step) for step, function in zip(steps, functions, strict=True)] for steps in step_SL.tolist()]
    return np.array(rows, dtype=np.float64)


def _adamw(courses: Sequence[Course], step_SL: np.ndarray, rate_SL: np.ndarray) -> dict[str, np.ndarray]:
    settings = [course.config.optimizer for course in courses]
    mean_L, square_L = np.array([own.betas or (0.9, 0.999) for own in settings]).T
    scheduled_SL = _of_steps(step_SL, [course.schedule.momentum for course in courses])
    mean_SL = np.where(np.isnan(scheduled_SL), mean_L, scheduled_SL)
    # As torch has them: the corrections are those of the betas at this step.
    mean_correction_SL, square_correction_SL = 1 - mean_SL ** (step_SL + 1), np.sqrt(1 - square_L ** (step_SL + 1))
    return {
        "new_mean": 1 - mean_SL,
        "new_square": np.broadcast_to(1 - square_L, step_SL.shape),
        "eps": np.array([own.eps for own in settings]) * square_correction_SL,
        "move": -rate_SL * square_correction_SL / mean_correction_SL,
    }


def _sgd(courses: Sequence[Course], step_SL: np.ndarray, rate_SL: np.ndarray) -> dict[str, np.ndarray]:
    momentum_L = np.array([course.config.optimizer.momentum for course in courses])
    scheduled_SL = _of_steps(step_SL, [course.schedule.momentum for course in courses])
    # One without momentum has none from the schedule either.
    is_kept_SL = np.isnan(scheduled_SL) | (momentum_L == 0)
    return {"momentum": np.where(is_kept_SL, momentum_L, scheduled_SL), "move": -rate_SL}


@torch.no_grad()
def clip(gradients_LP: Tensor, max_norm_L1: Tensor) -> Tensor:
    """Clip each lane's gradients by its own norm, in place; gives the norms (L,). As `clip_grad_norm_` does."""
    norm_L = torch.linalg.vector_norm(gradients_LP, dim=1)
    gradients_LP.mul_((max_norm_L1 / (norm_L[:, None] + 1e-6)).clamp(max=1.0))
    return norm_L


@torch.no_grad()
def adamw_step(
    weights_LP: Tensor, gradients_LP: Tensor, moments: Sequence[Tensor], step: dict[str, Tensor], num_decayed: int
) -> None:
    """One step, in place; `step` has (L, 1) a name. The gradients are used up."""
    mean_LP, square_LP = moments
    mean_LP.lerp_(gradients_LP, step["new_mean"])
    square_LP.lerp_(gradients_LP.square_(), step["new_square"])
    weights_LP[:, :num_decayed].mul_(step["kept"])
    scale_LP = torch.sqrt(square_LP, out=gradients_LP).add_(step["eps"])
    weights_LP.addcmul_(torch.div(mean_LP, scale_LP, out=scale_LP), step["move"])


@torch.no_grad()
def sgd_step(
    weights_LP: Tensor, gradients_LP: Tensor, moments: Sequence[Tensor], step: dict[str, Tensor], num_decayed: int,
    *, nesterov: bool,
) -> None:  # fmt: skip
    """One step, in place; `step` has (L, 1) a name. The gradients are used up."""
    (buffer_LP,) = moments
    weights_LP[:, :num_decayed].mul_(step["kept"])
    buffer_LP.mul_(step["momentum"]).add_(gradients_LP)
    moved_LP = gradients_LP.addcmul_(buffer_LP, step["momentum"]) if nesterov else buffer_LP
    weights_LP.addcmul_(moved_LP, step["move"])
