"""From a model's config to a module whose first weights depend on the seed alone."""

from typing import assert_never

import torch
from torch import nn

from training.errors import ConfigError
from training.learning_config import EnsembleConfig
from training.model_config import (
    ConvNetConfig,
    CustomModelConfig,
    FtTransformerConfig,
    MlpConfig,
    ModelConfig,
    ResNetConfig,
    TableResNetConfig,
    TransformerConfig,
)
from training.models.causal_lm import CausalLm
from training.models.convnet import ConvNet
from training.models.custom import build_custom
from training.models.ensemble import Ensemble
from training.models.ft_transformer import FtTransformer
from training.models.inputs import ModelInputs
from training.models.mlp import Mlp
from training.models.resnet import ResNet
from training.models.table_resnet import TableResNet
from training.models.text_transformer import TextTransformer
from training.seeds import seeded


def build_model(
    config: ModelConfig,
    inputs: ModelInputs,
    seed: int,
    code_path: str = "",
    ensemble: EnsembleConfig | None = None,
) -> nn.Module:
    """The module on the CPU, called with those tensors that there are of image, numeric, categorical, tokens.

    Args:
        config: the architecture.
        inputs: sizes of the tensors.
        seed: of the first weights, by whichever generator a class draws them; global random states are left as they
            were.
        code_path: folder that a custom class is imported from, besides the usual places.
        ensemble: how many of it to make one model of, each with first weights of its own.

    Raises:
        ConfigError: the architecture does not suit the tensors.
    """
    with seeded(seed):
        if ensemble is None:
            return _build_one(config, inputs, code_path)
        members = [_build_one(config, inputs, code_path) for _ in range(ensemble.members)]
        return Ensemble(members, inputs.num_outputs, is_balanced=ensemble.balanced)


def _build_one(config: ModelConfig, inputs: ModelInputs, code_path: str) -> nn.Module:
    if isinstance(config, CustomModelConfig):
        return build_custom(config, inputs, code_path)
    if inputs.vocab_size and not isinstance(config, TransformerConfig):
        raise ConfigError(
            f"model.kind={config.kind} is no language model, and data.task is language_modelling",
            "set model.kind: transformer, or give model.target, a class of your own",
        )
    _require_one_sort(config.kind, inputs)
    match config:
        case MlpConfig():
            return _build_mlp(config, inputs)
        case TableResNetConfig():
            _require_table(config.kind, inputs)
            return TableResNet(inputs, config)
        case FtTransformerConfig():
            _require_table(config.kind, inputs)
            return FtTransformer(inputs, config)
        case TransformerConfig():
            return _build_language_model(config, inputs) if inputs.vocab_size else _build_reader(config, inputs)
        case ConvNetConfig():
            shape = _image_shape(config, inputs)
            return ConvNet(shape, inputs.num_outputs, config.channels, config.hidden, config.dropout)
        case ResNetConfig():
            return ResNet(_image_shape(config, inputs), inputs.num_outputs, config)
    assert_never(config)


def _build_mlp(config: MlpConfig, inputs: ModelInputs) -> nn.Module:
    if inputs.image_shape is None:
        num_numeric, flatten = inputs.num_numeric, False
    else:
        num_numeric, flatten = int(torch.Size(inputs.image_shape).numel()), True
    mlp = Mlp(
        num_numeric, inputs.num_codes, inputs.num_outputs, config.hidden, config.dropout, config.max_embedding_dim,
        inputs.num_tokens,
    )  # fmt: skip
    return nn.Sequential(nn.Flatten(), mlp) if flatten else mlp


def _build_reader(config: TransformerConfig, inputs: ModelInputs) -> TextTransformer:
    _require_table(config.kind, inputs)
    if not inputs.num_tokens:
        raise ConfigError(
            f"model.kind=transformer reads texts, and no column is one: the data gives {', '.join(inputs.of_tables)}",
            "set data.columns.<name>.kind: text for a column of texts, or model.kind: ft_transformer for a table",
        )
    return TextTransformer(inputs, config)


def _build_language_model(config: TransformerConfig, inputs: ModelInputs) -> CausalLm:
    return CausalLm(
        inputs.vocab_size, inputs.sequence_length, config.dim, config.layers, config.heads, config.dropout,
        config.tie_weights,
    )  # fmt: skip


def _require_one_sort(kind: str, inputs: ModelInputs) -> None:
    if inputs.image_shape is not None and inputs.of_tables:
        raise ConfigError(
            f"model.kind={kind} takes images or a table, not both, and beside an image the data gives the tensors "
            f"{', '.join(inputs.of_tables)}",
            "leave columns out with data.ignore, or give model.target: your own class is called with image, "
            f"{', '.join(inputs.of_tables)}, in this order",
        )


def _require_table(kind: str, inputs: ModelInputs) -> None:
    if not inputs.of_tables:
        raise ConfigError(
            f"model.kind={kind} takes the columns of a table, and the data gives "
            f"{'none' if inputs.image_shape is None else 'an image'}",
            "check data.ignore and data.columns" if inputs.image_shape is None else "set model.kind: resnet",
        )


def _image_shape(config: ConvNetConfig | ResNetConfig, inputs: ModelInputs) -> tuple[int, int, int]:
    if inputs.image_shape is None:
        raise ConfigError(f"model.kind={config.kind} needs data.image_shape", "for example data.image_shape: [1, 8, 8]")
    try:
        config.require_fits(inputs.image_shape)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return inputs.image_shape
