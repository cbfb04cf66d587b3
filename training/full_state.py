"""State that ranks share out, made whole and shared out again: a checkpoint that fits any number of workers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

_KERNELS = ("fused", "foreach")


def whole(state: Any, *, keep: bool = True) -> Any:
    """A nested state with plain tensors, on the CPU, for DTensors; what else is in it stays as it is.

    A collective where there are any: every rank calls it with a state of the same shape. torch's `get_state_dict`
    would do for model and optimizer, but has an optimizer that made no step yet make and count one.

    Args:
        state: mappings, lists and tuples of tensors and other values, for example a training's checkpoint.
        keep: False where this rank will not use it: its tensors are then without content, on the meta device.
    """
    if isinstance(state, DTensor):
        full = state.full_tensor().detach()
        return full.cpu() if keep else full.to("meta")
    if isinstance(state, Mapping):
        return {key: whole(value, keep=keep) for key, value in state.items()}
    return [whole(value, keep=keep) for value in state] if isinstance(state, list | tuple) else state


def placed_like(value: Tensor, target: Tensor) -> Tensor:
    """This rank's share of a whole tensor, where `target` is shared out; else the value. Every rank has the whole."""
    if not isinstance(target, DTensor) or isinstance(value, DTensor):
        return value
    on_device = value.to(target.device)
    # Without a source rank each takes its part of what it has: no exchange.
    return distribute_tensor(on_device, target.device_mesh, target.placements, src_data_rank=None)


def load_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """`model.load_state_dict`, of a whole state also where the model is shared out."""
    own = model.state_dict()
    placed = {name: placed_like(value, own[name]) if name in own else value for name, value in state.items()}
    model.load_state_dict(placed)


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """`optimizer.load_state_dict`, of a whole state also where the parameters are shared out."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        place: {key: _placed(value, parameters[place]) for key, value in values.items()}
        for place, values in state["state"].items()
    }
    # Which kernel steps is of this process: torch's fused SGD takes no shards, and one worker that is elastic has none.
    groups = [
        saved | {key: own[key] for key in _KERNELS if key in own}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({"state": states, "param_groups": groups})


def _placed(value: Any, parameter: Tensor) -> Any:
    """A state of a parameter's shape lies where the parameter does; a count of steps is everywhere."""
    if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
        return value
    return placed_like(value, parameter)
