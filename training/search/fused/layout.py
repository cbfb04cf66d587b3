"""Where each weight of a model lies in a row of numbers, one row a lane.

Shape letters: L lanes, P weights of a model, D of them that weight decay acts on.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.optim.groups import parameter_groups


class Layout:
    """The order of an optimizer: first the weights that decay acts on, then the others.

    All lanes' weights are then one matrix, and a step of an optimizer is a few operations on it.
    """

    def __init__(self, model: nn.Module) -> None:
        named = {id(parameter): name for name, parameter in model.named_parameters()}
        groups: list[list[Tensor]] = [list(group["params"]) for group in parameter_groups(model, 0.0)]  # type: ignore[call-overload]
        parameters = [parameter for group in groups for parameter in group]
        self.names = [named[id(parameter)] for parameter in parameters]
        self.shapes = [parameter.shape for parameter in parameters]
        self.sizes = [parameter.numel() for parameter in parameters]
        self.num_weights = sum(self.sizes)
        self.num_decayed = sum(parameter.numel() for parameter in groups[0])
        kept = model.state_dict(keep_vars=True)
        # A weight that two modules share has two names in a state, and one place here.
        self.trained = {name: named[id(value)] for name, value in kept.items() if named.get(id(value)) in self.names}
        self.kept_names = list(kept)
        self.fixed_names = [name for name in kept if name not in self.trained]

    def views(self, weights_LP: Tensor) -> dict[str, Tensor]:
        """Each parameter of all lanes, (L, ...), by name."""
        parts = weights_LP.split(self.sizes, dim=1)
        return {
            name: part.unflatten(1, shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def row_of(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values by parameter name as one row, (P,)."""
        return torch.cat([values[name].detach().flatten() for name in self.names])

    def row_of_state(self, state: Mapping[str, Tensor]) -> Tensor:
        """The trained weights of a model's state as one row, (P,)."""
        return self.row_of({self.trained[name]: value for name, value in state.items() if name in self.trained})

    def values_of(self, row_P: Tensor) -> dict[str, Tensor]:
        """Values by parameter name, of one row."""
        parts = row_P.split(self.sizes)
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def state_of(self, row_P: Tensor, fixed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model's `state_dict` would give; `fixed` are its buffers and weights that are not trained."""
        values = self.values_of(row_P)
        return {name: values[self.trained[name]] if name in self.trained else fixed[name] for name in self.kept_names}

    def fixed_of(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The part of a state that no optimizer changes."""
        return {name: state[name] for name in self.fixed_names}
