"""Whole units and channels out of any module whose layers torch_pruning can follow.

Source: Fang et al., DepGraph: Towards Any Structural Pruning, 2023. Units that are tied to each other, by a sum for
example, go together; those with the smallest weights go first.
"""

from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.ops import OPTYPE, TORCH_CONV, TORCH_LINEAR

from training.compress.learned.attention_units import kept_units
from training.compress.quiet import quiet


def without_units(model: nn.Module, example: tuple[Tensor, ...], sparsity: float) -> None:
    """Take the share of units with the smallest weights out of every layer but the last, in place.

    Raises whatever torch_pruning stumbles on.

    Args:
        model: on the CPU; in evaluation mode afterwards.
        example: some rows.
        sparsity: share of units that go; of what is left a multiple of 8, or of 4 in narrow layers, stays.
    """
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    model.requires_grad_()  # the graph is read off the gradients' functions, which frozen layers have none of
    by_channel = [module for module in model.modules() if _is_by_channel(module)]
    with quiet(), torch.enable_grad():  # it warns of each parameter that is of no layer it knows
        graph = tp.DependencyGraph().build_dependency(
            model, example, forward_fn=lambda module, tensors: module(*tensors)
        )
        groups = list(graph.get_all_groups(root_module_types=[TORCH_CONV, TORCH_LINEAR]))
        chosen = [(group[0].dep, _doomed(graph, group, sparsity)) for group in groups if not _is_last(graph, group)]
        for root, units in chosen:  # all were chosen before one is gone: what is left must not be judged by the rest
            doomed = graph.get_pruning_group(root.target.module, root.handler, units)
            if units and graph.check_pruning_group(doomed):
                doomed.prune()
    for norm in by_channel:
        norm.num_groups = norm.num_channels
    for name in frozen:
        model.get_parameter(name).requires_grad = False


def _is_last(graph: Any, group: Any) -> bool:
    """Whether its units are those of the model's output."""
    nodes = [dep.target for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)]
    return any(node.type == OPTYPE.OUTPUT or not node.outputs for node in nodes)


def _doomed(graph: Any, group: Any, sparsity: float) -> list[int]:
    """Numbers of the units that go."""
    importance = tp.importance.GroupMagnitudeImportance(p=2)(group)
    if importance is None:
        return []
    num_sets = max(_channel_sets(graph, dep) for dep, _ in group)
    if num_sets == 1:
        num_doomed = len(importance) - kept_units(len(importance), sparsity)
        return importance.argsort()[:num_doomed].tolist()
    # Of channels that are convolved or normalised in sets, as many must go of each.
    by_place = importance.view(num_sets, -1).mean(dim=0)
    num_kept = max(1, round(len(by_place) * (1 - sparsity)))
    places = by_place.argsort()[: len(by_place) - num_kept]
    return (torch.arange(num_sets)[:, None] * len(by_place) + places).flatten().tolist()


def _channel_sets(graph: Any, dep: Any) -> int:
    module = dep.target.module
    if _is_by_channel(module) or getattr(module, "groups", 1) == getattr(module, "out_channels", 0):
        return 1
    pruner = graph.get_pruner_of_module(module)
    is_out = graph.is_out_channel_pruning_fn(dep.handler)
    return int(pruner.get_out_channel_groups(module) if is_out else pruner.get_in_channel_groups(module))


def _is_by_channel(module: nn.Module) -> bool:
    """A group norm of one channel a group, from which any channel may go, its group with it."""
    return isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels
