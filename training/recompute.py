"""Activations that are computed again in the backward pass instead of kept (Chen et al. 2016)."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from training.blocks import repeated_blocks
from training.errors import ConfigError

Contexts = tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]


def recompute_activations(model: nn.Module, *, is_compiled: bool = False) -> None:
    """Have each of the model's blocks keep its inputs only, in training. Names of parameters stay.

    Dropout draws the same numbers again, and batch norms remember a batch once. Raises ConfigError for a model
    without `blocks`, where there is nothing between inputs and outputs to save.
    """
    blocks = repeated_blocks(model)
    if not blocks:
        raise ConfigError(
            f"train.activation_checkpointing needs a model of repeated blocks, and {type(model).__name__} has none",
            "give your class an attribute `blocks`, an nn.ModuleList of them, or leave the setting out",
        )
    for block in blocks:
        norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        if norms and is_compiled:
            raise ConfigError(
                "train.compile and train.activation_checkpointing do not go together for a model with batch norms: "
                "compiled, each batch would be remembered twice",
                "leave one of them out",
            )
        options: dict[str, Any] = {"context_fn": partial(_contexts, norms)} if norms else {}
        # On the instance, not in a wrapping module: that would change the names of all parameters.
        block.forward = partial(_forward, block, options)


def _forward(block: nn.Module, options: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    forward = partial(type(block).forward, block)
    if not block.training:
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **options, **kwargs)


def _contexts(norms: Sequence[nn.Module]) -> Contexts:
    return contextlib.nullcontext(), _forgetting(norms)


@contextlib.contextmanager
def _forgetting(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Let batch norms work on copies of what they remember; the second pass would else count the batch twice."""
    remembered = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, remembered, strict=True):
        norm._buffers.update({name: None if value is None else value.clone() for name, value in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, remembered, strict=True):
            norm._buffers.update(buffers)
