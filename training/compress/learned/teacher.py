"""Learning from a teacher's answers: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

Shape letters: B rows of a batch, M members of an ensemble, K outputs, classes or labels, L places of a text, V tokens.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.compress_config import DistilConfig
from training.losses import Loss, Wanted
from training.package.byte_tokens import IGNORED
from training.package.manifest import Task


class Teacher:
    """A trained model that answers beside a student, row by row the same tensors.

    It is no module, and the student does not own it: the student's weights, their names and its optimizer stay as
    they are.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model = copy.deepcopy(model).to(device).eval().requires_grad_(requires_grad=False)
        self._said: Tensor | None = None

    def stand_beside(self, student: nn.Module) -> None:
        """Answer whatever the student is given in training, also when rows are put through it in pieces."""
        forward = student.forward

        def with_teacher(*tensors: Tensor) -> Tensor:
            if student.training:
                with torch.no_grad():
                    self._said = self._model(*tensors)
            answer: Tensor = forward(*tensors)
            return answer

        student.forward = with_teacher  # on the instance: a hook is passed over where `forward` itself is called

    def said(self) -> Tensor:
        """Of the rows that the student was given last, once."""
        assert self._said is not None, "the student was not asked since"
        said, self._said = self._said, None
        return said


class TaughtLoss(Loss):
    """A training's own loss, and how far the student is from its teacher. A `Loss` by how it is called.

    Args:
        own: of the training.
        teacher: that stands beside the student.
        task: what the outputs mean.
        config: temperature, and share of the teacher.
        token_weight: what a token counts, see `training.losses.weights`; of a language model only.
    """

    def __init__(
        self, own: Loss, teacher: Teacher, task: Task, config: DistilConfig, token_weight: float = 1.0
    ) -> None:
        self._own_loss, self._teacher, self._task, self._distil = own, teacher, task, config
        self._token_weight = token_weight

    def __call__(self, output: Tensor, wanted: Wanted, ids_B: Tensor) -> Tensor:
        """The mean over rows, and over members."""
        share, said = self._distil.teacher_share, self._teacher.said()
        own = self._own_loss(output, wanted, ids_B)
        each = distance(self._task, output, said, self._distil.temperature, wanted.target_B)
        if self._task == "language_modelling":
            each = each * self._token_weight
        return (1 - share) * own + share * each.mean()


def distance(task: Task, output: Tensor, said: Tensor, temperature: float, target_B: Tensor) -> Tensor:
    """How far a student is from its teacher in each row (B,), or of each row and member (B, M).

    The Kullback-Leibler divergence of the softened answers times the square of the temperature, which leaves gradients
    as large as those of a cross-entropy; of several labels the mean over labels, of a text the sum over the tokens
    that are wanted. Of a regression, the square of the difference in scales of the target.

    Args:
        task: what the outputs mean.
        output: the student's (B, K), (B, M, K) of an ensemble in training, (B, L, V) of a language model.
        said: the teacher's, in evaluation: (B, K) or (B, L, V).
        temperature: divides logits.
        target_B: what is wanted; only of a language model it is looked at.
    """
    output, said = output.float(), said.float()
    if output.ndim > said.ndim:
        said = said.unsqueeze(1)
    if task == "regression":
        return (output - said).square()[..., 0]
    softened, wished = output / temperature, said / temperature
    if task == "multilabel":
        return temperature**2 * _of_labels(softened, wished).mean(dim=-1)
    each = (wished.softmax(-1) * (wished.log_softmax(-1) - softened.log_softmax(-1))).sum(dim=-1)
    if task == "language_modelling":
        each = torch.where(target_B == IGNORED, 0.0, each).sum(dim=1)
    return temperature**2 * each


def _of_labels(softened: Tensor, wished: Tensor) -> Tensor:
    """The divergence of each label by itself."""
    present = wished.sigmoid() * (F.logsigmoid(wished) - F.logsigmoid(softened))
    return present + (-wished).sigmoid() * (F.logsigmoid(-wished) - F.logsigmoid(-softened))
