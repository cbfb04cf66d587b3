"""What a form that is trained is given, and what it gives back."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from training.config import Experiment
from training.data.prepared import Prepared


@dataclass(frozen=True)
class Around:
    """What every training of compression shares."""

    experiment: Experiment  # with the best trial's settings
    prepared: Prepared
    metric: str  # plain name of the score that decides, judged on the validation rows
    code_path: str = ""
    device: str = "cpu"  # that trains: cpu or cuda


@dataclass(frozen=True)
class Base:
    """A model that number formats are made of: as trained, or smaller."""

    model: nn.Module  # on the CPU, gives logits
    steps: tuple[str, ...] = ()  # how it came from the trained one, in order
    num_weights: int = 0  # elements of its matrices that are not 0
    validation_score: float | None = None

    def after(self, step: str, model: nn.Module, validation_score: float | None = None) -> "Base":
        """The same one step further."""
        return replace(
            self, model=model, steps=(*self.steps, step), num_weights=num_weights(model),
            validation_score=validation_score,
        )  # fmt: skip


def num_weights(model: nn.Module) -> int:
    """Elements of matrices and larger that are not 0."""
    return sum(int(torch.count_nonzero(each)) for each in model.parameters() if each.ndim >= 2)
