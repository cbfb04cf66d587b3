"""What a form that is trained is given, and what it gives back."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from training.compress.errors import NotMade
from training.config import Experiment
from training.data.prepared import Part, Prepared


@dataclass(frozen=True)
class Around:
    """What every training of compression shares."""

    experiment: Experiment  # with the best trial's settings
    prepared: Prepared
    metric: str  # plain name of the score that must be kept, judged on the validation rows: max_drop is a loss of it
    code_path: str = ""
    device: str = "cpu"  # that trains: cpu or cuda

    def some_rows(self, num_rows: int) -> tuple[Tensor, ...]:
        """So many real rows as the model takes them, spread over the training rows; of a stream, the validation rows.

        Where there are fewer, some come twice. Raises NotMade where there is none.
        """
        train = self.prepared.train
        part = train if isinstance(train, Part) else self.prepared.validation
        if not len(part):
            raise NotMade("there is no row to try the model on")
        index = np.linspace(0, len(part) - 1, num_rows).astype(np.int64)
        return tuple(torch.from_numpy(values[index]) for values in part.tensors.values())


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
