"""The repeated parts of a model, which FSDP gathers and recomputation repeats one at a time."""

from collections.abc import Iterator

from torch import nn

_SMALLEST_SHARE = 0.01  # of all weights; a smaller part is not worth a collective of its own


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """What modules declare in an attribute `blocks`, an nn.ModuleList; where none does, the members of lists and
    sequences whose members are all of one class with parts of its own. The outermost where they are nested.
    """
    return _declared(model) or list(_alike(model))


def parts_of(model: nn.Module) -> list[nn.Module]:
    """`repeated_blocks`, or where there are none the large parts of the model. Never the model itself.

    Large: parts with more than half of the weights are opened, as far as they have parts of their own; those with
    less than a hundredth are left out.
    """
    smallest, opened_above = max(_SMALLEST_SHARE * _num_weights(model), 1), _num_weights(model) / 2
    return repeated_blocks(model) or [p for p in _opened(model, opened_above) if _num_weights(p) >= smallest]


def _declared(model: nn.Module) -> list[nn.Module]:
    own = getattr(model, "blocks", None)
    if isinstance(own, nn.ModuleList) and len(own):
        return list(own)
    return [block for part in model.children() for block in _declared(part)]


def _alike(model: nn.Module) -> Iterator[nn.Module]:
    for child in model.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        kinds = {type(member) for member in members if list(member.children())}
        if len(members) > 1 and len(kinds) == 1 and all(type(member) in kinds for member in members):
            yield from members
        else:
            yield from _alike(child)


def _opened(module: nn.Module, opened_above: float) -> Iterator[nn.Module]:
    for child in module.children():
        has_forward = not isinstance(child, nn.ModuleList | nn.ModuleDict)  # FSDP gathers in a module's forward
        if has_forward and (_num_weights(child) <= opened_above or not list(child.children())):
            yield child
        else:
            yield from _opened(child, opened_above)


def _num_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
