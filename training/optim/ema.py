"""An exponential moving average of the weights (Polyak and Juditsky 1992; as in Tarvainen and Valpola 2017)."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import TrainingFailed
from training.full_state import placed_like
from training.optim.local import is_shared_out, local_parts


class Ema:
    """Averages of a model's trainable parameters, one more copy of them.

    Buffers are not averaged: with the average in place, the model has the buffers of the last step. Give it the
    original module after it is wrapped; under FSDP each rank averages its shards.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._decay = decay
        self._names, self._parameters = list(trained), list(trained.values())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, the first is 0. Early averages forget the first weights faster."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(local_parts(self._averages), local_parts(self._parameters), 1 - decay)

    @contextlib.contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights, to be judged or kept; no optimizer step inside. Under FSDP on every rank."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def state_dict(self) -> dict[str, Tensor]:
        """Averages by parameter name: the live tensors, under FSDP DTensors."""
        return dict(zip(self._names, self._averages, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take averages, whole ones also where ours are shards. Raises TrainingFailed if the names are others."""
        if set(state) != set(self._names):
            lacks, besides = sorted(set(self._names) - set(state)), sorted(set(state) - set(self._names))
            raise TrainingFailed(
                f"the checkpoint's averaged weights are of another model: it lacks {lacks}, and has besides {besides}",
                "go on with the model it was taken with, or train under another name",
            )
        for name, average in zip(self._names, self._averages, strict=True):
            average.copy_(placed_like(state[name], average))

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        if not is_shared_out(self._parameters):
            for parameter, average in zip(self._parameters, self._averages, strict=True):
                parameter.data, average.data = average.data, parameter.data
            return
        # FSDP keeps views of its shards' memory, and gathered weights where it has need of them soon again.
        reshard(model)
        weights, averages = local_parts(self._parameters), local_parts(self._averages)
        kept = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, averages)
        torch._foreach_copy_(averages, kept)


def reshard(model: nn.Module) -> None:
    """Drop the weights that FSDP has gathered, so that its next forward gathers them as they are now."""
    for module in model.modules():
        drop: Any = getattr(module, "reshard", None)
        if callable(drop):
            drop()
