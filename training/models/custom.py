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
    return model
