"""From a model's config to a module whose first weights depend on the seed alone."""

import importlib
import inspect
import sys
from dataclasses import dataclass

import torch
from torch import nn

from training.config import ConvNetConfig, CustomModelConfig, MlpConfig
from training.errors import ConfigError
from training.models.convnet import ConvNet
from training.models.mlp import Mlp
from training.package.transforms import Transforms


@dataclass(frozen=True)
class ModelInputs:
    """What a model is given and must give. A custom class may take it as its `inputs` argument."""

    num_numeric: int  # width of the `numeric` tensor, 0 where there is none
    num_codes: tuple[int, ...]  # codes of each column of the `categorical` tensor
    image_shape: tuple[int, int, int] | None  # C, H, W of the `image` tensor
    num_outputs: int  # logits: one a class, or 1 for a regression

    @classmethod
    def of(cls, transforms: Transforms, num_outputs: int) -> "ModelInputs":
        """What these transforms give to a model."""
        return cls(
            num_numeric=len(transforms.numeric),
            num_codes=tuple(column.num_codes for column in transforms.categorical),
            image_shape=transforms.image.shape if transforms.image else None,
            num_outputs=num_outputs,
        )


def build_model(
    config: MlpConfig | ConvNetConfig | CustomModelConfig, inputs: ModelInputs, seed: int, code_path: str = ""
) -> nn.Module:
    """The module on the CPU. It is called with the tensors there are, in the order image | numeric, categorical.

    Args:
        config: the architecture.
        inputs: sizes of the tensors.
        seed: of the first weights; the global random state is left as it was.
        code_path: folder that a custom class is imported from, besides the usual places.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match config:
            case MlpConfig():
                return _build_mlp(config, inputs)
            case ConvNetConfig():
                if inputs.image_shape is None:
                    raise ConfigError(
                        "model.kind=convnet needs data.image_shape", "for example data.image_shape: [1, 8, 8]"
                    )
                return ConvNet(inputs.image_shape, inputs.num_outputs, config.channels, config.hidden, config.dropout)
            case CustomModelConfig():
                return _build_custom(config, inputs, code_path)


def _build_mlp(config: MlpConfig, inputs: ModelInputs) -> nn.Module:
    if inputs.image_shape is None:
        num_numeric, flatten = inputs.num_numeric, False
    else:
        num_numeric, flatten = int(torch.Size(inputs.image_shape).numel()), True
    mlp = Mlp(
        num_numeric, inputs.num_codes, inputs.num_outputs, config.hidden, config.dropout, config.max_embedding_dim
    )
    return nn.Sequential(nn.Flatten(), mlp) if flatten else mlp


def _build_custom(config: CustomModelConfig, inputs: ModelInputs, code_path: str) -> nn.Module:
    model_class = load_class(config.target, code_path)
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


def load_class(target: str, code_path: str = "") -> type:
    """The class behind "package.module:Class". Raises ConfigError where it cannot be imported."""
    module_name, _, class_name = target.partition(":")
    if code_path and code_path not in sys.path:
        sys.path.insert(0, code_path)
    try:
        importlib.invalidate_caches()  # the file may be younger than the process
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"model.target {target} cannot be imported: {error}",
            f"put {module_name.replace('.', '/')}.py beside the experiment file"
            f" ({code_path or 'unknown'}) or install it",
        ) from error
    if not isinstance(found := getattr(module, class_name, None), type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{module_name} has no class {class_name}", f"it has: {', '.join(classes) or 'no class'}")
    return found
