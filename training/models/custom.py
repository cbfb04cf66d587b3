"""A class of your own, by import path."""

import inspect

from torch import nn

from training.errors import ConfigError
from training.import_path import load_class
from training.model_config import CustomModelConfig
from training.models.inputs import ModelInputs


def build_custom(config: CustomModelConfig, inputs: ModelInputs, code_path: str) -> nn.Module:
    """The module that the class makes. Raises ConfigError where it cannot."""
    model_class = load_class(config.target, code_path, "model.target")
    takes_inputs = "inputs" in inspect.signature(model_class).parameters
    try:
        model = model_class(**({"inputs": inputs} if takes_inputs else {}), **config.args)
    except TypeError as error:
        signature = inspect.signature(model_class)
        raise ConfigError(
            f"model.args do not fit {config.target}: {error}", f"it takes {signature}; `inputs` is given by us"
        ) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model.target {config.target} made a {type(model).__name__}, not a torch.nn.Module")
    _require_arguments(model, config.target, inputs)
    return model


def _require_arguments(model: nn.Module, target: str, inputs: ModelInputs) -> None:
    """Whether `forward` takes as many tensors as the data gives: torch's own message would name a line of ours."""
    given = ("tokens",) if inputs.vocab_size else (*(("image",) if inputs.image_shape else ()), *inputs.of_tables)
    signature = inspect.signature(model.forward)
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ConfigError(
            f"model.target {target}: forward{signature} cannot be called with ({', '.join(given)}), which the data "
            f"gives: {error}",
            f"let it take them in this order: def forward(self, {', '.join(given)})",
        ) from error
