"""Which parameters weight decay and the L1 penalty act on."""

import re
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from training.errors import ConfigError

TAKES_DECAY = "takes_decay"  # of a parameter group: also where weight decay is 0
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
_NORM_NAME = re.compile(r"Norm(\dd)?$")  # a person's own RMSNorm or BatchNorm2d
_BIAS_NAME = re.compile(r"(^|_)bias(es)?(_|$)")


def decayed_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Trainable matrices, embeddings and kernels: what weight decay and the L1 penalty act on.

    Not those of fewer than two axes, of normalisations, named as biases, or that their module keeps out by an
    attribute `no_weight_decay`, a set of its parameters' names. Call it on the wrapped model's original module.
    """
    spared = {id(parameter) for parameter in _spared(model)}
    return [p for p in model.parameters() if p.requires_grad and p.ndim >= 2 and id(p) not in spared]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups, with and without weight decay, each in the model's order."""
    decayed = decayed_parameters(model)
    known = {id(parameter) for parameter in decayed}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return [
        {"params": decayed, "weight_decay": weight_decay, TAKES_DECAY: True},
        {"params": others, "weight_decay": 0.0, TAKES_DECAY: False},
    ]


def _spared(model: nn.Module) -> Iterator[Tensor]:
    for path, module in model.named_modules():
        kept_out = _kept_out(path, module)
        is_norm = isinstance(module, _NORMS) or _NORM_NAME.search(type(module).__name__) is not None
        for name, parameter in module.named_parameters(recurse=False):
            if is_norm or name in kept_out or _BIAS_NAME.search(name):
                yield parameter


def _kept_out(path: str, module: nn.Module) -> frozenset[str]:
    names = getattr(module, "no_weight_decay", ())
    own = {name for name, _ in module.named_parameters(recurse=False)}
    where = f"{type(module).__name__}.no_weight_decay" + (f" of {path}" if path else "")
    if isinstance(names, str) or not isinstance(names, set | frozenset | list | tuple):
        raise ConfigError(
            f"{where} is a {type(names).__name__}", 'it must be a set of parameter names, for example {"position"}'
        )
    if unknown := sorted(set(names) - own):
        raise ConfigError(
            f"{where} names {', '.join(unknown)}, which it has no parameter of",
            f"its own parameters are: {', '.join(sorted(own)) or 'none'}",
        )
    return frozenset(names)
