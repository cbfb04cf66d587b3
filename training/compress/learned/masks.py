"""Single weights that become 0, and stay so while the rest trains on."""

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize, prune

from training.compress.errors import NotMade
from training.compress.learned.tuning import plain_state


def zero_smallest(model: nn.Module, sparsity: float) -> None:
    """Set the share of the weights of linear layers and convolutions that are nearest to 0 to 0, in place.

    All layers are ranked together. A matrix that several modules share is left alone, as that of an embedding which
    also makes logits. Raises NotMade for a model without such a layer.
    """
    ranked = _layers(copy.deepcopy(model))  # torch's pruning would put the parameters of the model in another order
    if not ranked:
        raise NotMade("the model has neither a linear layer nor a convolution of its own")
    prune.global_unstructured([(layer, "weight") for layer in ranked.values()], prune.L1Unstructured, amount=sparsity)
    with torch.no_grad():
        for name, layer in _layers(model).items():
            layer.weight.mul_(ranked[name].get_buffer("weight_mask"))


def share_of_zeros(model: nn.Module) -> float:
    """Of the weights that `zero_smallest` looks at."""
    weights = [module.weight for module in _layers(model).values()]
    num_zeros = sum(weight.numel() - int(torch.count_nonzero(weight)) for weight in weights)
    return num_zeros / max(sum(weight.numel() for weight in weights), 1)


def keeping_zeros(model: nn.Module) -> nn.Module:
    """A copy in which the zeros of those layers stay 0 whatever an optimizer, weight decay or an average does."""
    held = copy.deepcopy(model)
    for module in _layers(held).values():
        parametrize.register_parametrization(module, "weight", _Held(module.weight != 0))
    return held


def with_tuned(model: nn.Module, held: nn.Module) -> nn.Module:
    """The model with the weights that training gave to what `keeping_zeros` made of it."""
    tuned = copy.deepcopy(model)
    tuned.load_state_dict(plain_state(held, tuned))
    with torch.no_grad():
        for name, layer in _layers(tuned).items():
            layer.weight.mul_(held.get_buffer(f"{name}.parametrizations.weight.0.mask".removeprefix(".")))
    return tuned


def _layers(model: nn.Module) -> dict[str, nn.Linear | _ConvNd]:
    """By name, without those that share their matrix."""
    num_users = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | _ConvNd) and num_users[id(module.weight)] == 1
    }


class _Held(nn.Module):
    """Not of torch.nn.utils.prune: its hook is passed over by modules that read a layer's weight themselves."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = nn.Buffer(mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Zeros where zeros were."""
        return weight * self.mask
