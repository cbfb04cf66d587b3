"""The model that all lanes share the form of. Shape letters: L lanes, B rows of a batch, P weights of a lane."""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.config import Experiment
from training.data.prepared import Facts
from training.models import ModelInputs, build_model
from training.search.fused.dropout import Site, take_masks
from training.search.fused.forward import forward_of, sites_of
from training.search.fused.layout import Layout
from training.search.fused.shape import dropout_names

FIRST_WEIGHTS_KEPT = 32  # seeds whose first weights are kept: trials of a search mostly share one


class Template:
    """A model without weights of its own that count, and where each weight of a lane lies."""

    def __init__(self, experiment: Experiment, facts: Facts, device: torch.device, code_path: str) -> None:
        self._inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
        self._device, self._code_path = device, code_path
        names = dropout_names(experiment.model)
        apart = {name: (i + 1) / (len(names) + 2) for i, name in enumerate(names)}
        marked = experiment.model.model_copy(update=apart)
        self.model = build_model(marked, self._inputs, experiment.train.seed, code_path).to(device)
        self.layout = Layout(self.model)
        masks = take_masks(self.model, {probability: name for name, probability in apart.items()})
        self._masks, self.forward = masks, forward_of(self.model, masks)
        self._sites: dict[tuple[int, ...], list[Site]] = {}
        self._first: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}

    def first_weights(self, experiment: Experiment) -> tuple[Tensor, dict[str, Tensor]]:
        """A lane's first weights (P,), and its buffers: those that `build_model` gives for its seed."""
        seed = experiment.train.seed
        if seed not in self._first:
            state = build_model(experiment.model, self._inputs, seed, self._code_path).to(self._device).state_dict()
            if len(self._first) >= FIRST_WEIGHTS_KEPT:
                self._first.clear()
            self._first[seed] = self.layout.row_of_state(state), self.layout.fixed_of(state)
        return self._first[seed]

    def sites(self, tensors: Sequence[Tensor]) -> list[Site]:
        """The dropouts of a training's forward pass over such tensors of one lane."""
        shapes = tuple(len(tensor) for tensor in tensors)
        if shapes not in self._sites:
            self._sites[shapes] = sites_of(self.model, self._masks, tensors)
        return self._sites[shapes]


def probabilities(experiment: Experiment, sites: Sequence[Site]) -> tuple[float, ...]:
    """Of a lane to drop at each site."""
    return tuple(getattr(experiment.model, site.setting) if site.setting else site.constant for site in sites)
