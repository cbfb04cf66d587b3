"""From a model's config to a module whose first weights depend on the seed alone."""

import importlib
import inspect
import sys
from dataclasses import dataclass

import torch
from torch import nn

from training.errors import ConfigError
from training.learning_config import EnsembleConfig
from training.model_config import ConvNetConfig, CustomModelConfig, MlpConfig
from training.models.convnet import ConvNet
from training.models.ensemble import Ensemble
from training.models.mlp import Mlp
from training.package.transforms import Transforms


@dataclass(frozen=True)
class ModelInputs:
    """What a model is given and must give. A custom class may take it as its `inputs` argument."""

    num_numeric: int  # width of the `numeric` tensor, 0 where there is none
    num_codes: tuple[int, ...]  # codes of each column of the `categorical` tensor
    image_shape: tuple[int, int, int] | None  # C, H, W of the `image` tensor
    num_outputs: int  # logits: one a class, or 1 for a regression
    num_tokens: tuple[int, ...] = ()  # token ids of each text of the `tokens` tensor, padding (0) included
    text_length: int = 0  # ids of a text

    @classmethod
    def of(cls, transforms: Transforms, num_outputs: int) -> "ModelInputs":
        """What these transforms give to a model."""
        return cls(
            num_numeric=transforms.num_numeric,
            num_codes=tuple(column.num_codes for column in transforms.embedded),
            image_shape=transforms.image.shape if transforms.image else None,
            num_outputs=num_outputs,
            num_tokens=tuple(column.num_codes for column in transforms.texts),
            text_length=transforms.text_length,
        )

    @property
    def of_tables(self) -> tuple[str, ...]:
        """Names of the tensors beside `image`."""
        sizes = {"numeric": self.num_numeric, "categorical": self.num_codes, "tokens": self.num_tokens}
        return tuple(name for name, size in sizes.items() if size)


def build_model(
    config: MlpConfig | ConvNetConfig | CustomModelConfig,
    inputs: ModelInputs,
    seed: int,
    code_path: str = "",
    ensemble: EnsembleConfig | None = None,
) -> nn.Module:
    """The module on the CPU, called with those tensors that there are of image, numeric, categorical, tokens.

    Args:
        config: the architecture.
        inputs: sizes of the tensors.
        seed: of the first weights; the global random state is left as it was.
        code_path: folder that a custom class is imported from, besides the usual places.
        ensemble: how many of it to make one model of, each with first weights of its own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if ensemble is None:
            return _build_one(config, inputs, code_path)
        members = [_build_one(config, inputs, code_path) for _ in range(ensemble.members)]
        return Ensemble(members, inputs.num_outputs, is_balanced=ensemble.balanced)


def _build_one(config: MlpConfig | ConvNetConfig | CustomModelConfig, inputs: ModelInputs, code_path: str) -> nn.Module:
    match config:
        case MlpConfig():
            return _build_mlp(config, inputs)
        case ConvNetConfig():
            _require_one_sort(config.kind, inputs)
            if inputs.image_shape is None:
                raise ConfigError(
                    "model.kind=convnet needs data.image_shape", "for example data.image_shape: [1, 8, 8]"
                )
            return ConvNet(inputs.image_shape, inputs.num_outputs, config.channels, config.hidden, config.dropout)
        case CustomModelConfig():
            return _build_custom(config, inputs, code_path)


def _require_one_sort(kind: str, inputs: ModelInputs) -> None:
    if inputs.image_shape is not None and inputs.of_tables:
        raise ConfigError(
            f"model.kind={kind} takes images or a table, not both, and beside an image the data gives the tensors "
            f"{', '.join(inputs.of_tables)}",
            "leave columns out with data.ignore, or give model.target: your own class is called with image, "
            f"{', '.join(inputs.of_tables)}, in this order",
        )


def _build_mlp(config: MlpConfig, inputs: ModelInputs) -> nn.Module:
    _require_one_sort(config.kind, inputs)
    if inputs.image_shape is None:
        num_numeric, flatten = inputs.num_numeric, False
    else:
        num_numeric, flatten = int(torch.Size(inputs.image_shape).numel()), True
    mlp = Mlp(
        num_numeric, inputs.num_codes, inputs.num_outputs, config.hidden, config.dropout, config.max_embedding_dim,
        inputs.num_tokens,
    )  # fmt: skip
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
