"""Pruned forms: what does little is taken out, and the rest trains on."""

import copy
from decimal import Decimal
from typing import Literal

import torch
from torch import Tensor, nn

from training.compress.errors import NotMade
from training.compress.learned.around import Around, Base, num_weights
from training.compress.learned.attention_units import has_blocks, without_heads_and_units
from training.compress.learned.masks import keeping_zeros, share_of_zeros, with_tuned, zero_smallest
from training.compress.learned.traced_units import without_units
from training.compress.learned.tuning import fine_tune
from training.compress_config import DistilConfig, PruneConfig
from training.models.causal_lm import CausalLm
from training.models.ensemble import Ensemble
from training.models.ft_transformer import FtTransformer
from training.models.text_transformer import TextTransformer

EXAMPLE_ROWS = 8
LR_SHARE = 0.1  # of the rate of training: what is left has been trained before
TAUGHT = "taught"  # the step after pruning, where the unpruned model teaches


def pruned(
    base: Base, config: PruneConfig, sparsity: float, around: Around, teacher: nn.Module | None = None,
    distil: DistilConfig | None = None,
) -> Base:  # fmt: skip
    """The model pruned, and what is left trained on; with a teacher its answers are learned from, a step of its own.

    Args:
        base: left as it is.
        config: in which way, and how long it trains on.
        sparsity: share of units (structured) or weights (magnitude) that go.
        around: data and settings.
        teacher: the unpruned model, for example.
        distil: how much of it is learned; None: by the defaults.

    Raises:
        NotMade: with the reason.
    """
    cut = prune(base, config.kind, sparsity, around)
    peak_lr = around.experiment.train.peak_lr * LR_SHARE if config.peak_lr is None else config.peak_lr
    start = keeping_zeros(cut.model) if config.kind == "magnitude" else cut.model
    model, score = fine_tune(start, around, epochs=config.epochs, peak_lr=peak_lr, teacher=teacher, distil=distil)
    if config.kind == "magnitude":
        model = with_tuned(cut.model, model)
    tuned = base.after(cut.steps[-1], model, score)
    return tuned if teacher is None else tuned.after(TAUGHT, model, score)


def prune(base: Base, kind: Literal["structured", "magnitude"], sparsity: float, around: Around) -> Base:
    """The model pruned and not trained on.

    Raises:
        NotMade: nothing could be taken out, or what is left does not run; with the reason.
    """
    model = copy.deepcopy(base.model).cpu().eval()
    if kind == "magnitude":
        _prune_weights(model, sparsity)
    else:
        _prune_units(model, sparsity, around.some_rows(EXAMPLE_ROWS))
        if not num_weights(model) < num_weights(base.model):
            raise NotMade(f"no layer of the model can do without {sparsity:.0%} of its units")
    return base.after(pruned_name(kind, sparsity), model)


def pruned_name(kind: str, sparsity: float) -> str:
    """The step's name, `structured-50` for a share of 0.5. Shares that differ have names that differ."""
    return f"{kind}-{(100 * Decimal(repr(sparsity))).normalize():f}"


def _prune_weights(model: nn.Module, sparsity: float) -> None:
    zero_smallest(model, sparsity)
    if (share := share_of_zeros(model)) < 0.99 * sparsity:
        raise NotMade(f"{share:.1%} of the weights are 0, where {sparsity:.1%} were wanted")


def _prune_units(model: nn.Module, sparsity: float, example: tuple[Tensor, ...]) -> None:
    before = _shape_of_answer(model, example)
    # torch_pruning would have to choose the same units of all members, whose units have nothing in common.
    for part in model.members if isinstance(model, Ensemble) else [model]:
        if has_blocks(part) and isinstance(part, FtTransformer | TextTransformer | CausalLm):
            without_heads_and_units(part, sparsity)
        else:
            _prune_traced(part, sparsity, example)
    for num_rows in (1, EXAMPLE_ROWS):
        try:
            after = _shape_of_answer(model, tuple(tensor[:num_rows] for tensor in example))
        except Exception as error:  # a person's module may lean on a width that it was written with
            raise NotMade(f"{_name(model)} does not run with fewer units: {_cause(error)}") from error
        if after != (num_rows, *before[1:]):
            raise NotMade(f"{_name(model)} gives {after} with fewer units, where {(num_rows, *before[1:])} is wanted")


def _prune_traced(model: nn.Module, sparsity: float, example: tuple[Tensor, ...]) -> None:
    try:
        without_units(model, example, sparsity)
    except Exception as error:  # torch_pruning raises what Python raises where it cannot follow a module
        raise NotMade(f"torch_pruning cannot follow {_name(model)}: {_cause(error)}") from error


@torch.no_grad()
def _shape_of_answer(model: nn.Module, rows: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(model.eval()(*rows).shape)


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
