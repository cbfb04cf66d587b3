"""Every built-in architecture in a small size, with inputs that it takes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from training.model_config import (
    ConvNetConfig,
    FtTransformerConfig,
    MlpConfig,
    ModelConfig,
    ResNetConfig,
    TableResNetConfig,
    TransformerConfig,
)
from training.models import ModelInputs

TABLE = ModelInputs(3, (5, 40), None, 4, num_tokens=(30, 9), text_length=6)
NUMBERS = ModelInputs(3, (), None, 4)
TEXT = ModelInputs(0, (), None, 4, num_tokens=(30,), text_length=6)
DIGIT = ModelInputs(0, (), (1, 8, 8), 4)
PHOTO = ModelInputs(0, (), (3, 64, 80), 4)
WORDS = ModelInputs(0, (), None, 11, vocab_size=11, sequence_length=9)

KINDS: dict[str, tuple[ModelConfig, ModelInputs]] = {
    "mlp": (MlpConfig(hidden=(160, 160)), TABLE),
    "convnet": (ConvNetConfig(kind="convnet"), DIGIT),
    "table_resnet": (TableResNetConfig(kind="table_resnet"), TABLE),
    "ft_transformer": (FtTransformerConfig(kind="ft_transformer", dim=128), TABLE),
    "resnet": (ResNetConfig(kind="resnet", width=8), DIGIT),
    "resnet_of_photos": (ResNetConfig(kind="resnet", width=8, norm="group"), PHOTO),
    "transformer": (TransformerConfig(kind="transformer", dim=128), TABLE),
    "transformer_cls": (TransformerConfig(kind="transformer", pool="cls"), TEXT),
}
LANGUAGE_MODEL = (TransformerConfig(kind="transformer", dim=32), WORDS)


def rows_of(inputs: ModelInputs, num_rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors by name, in the model's order; some texts are empty."""
    return dict(_rows_of(inputs, num_rows, np.random.default_rng(seed)))


def _rows_of(inputs: ModelInputs, num_rows: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    if inputs.image_shape is not None:
        yield "image", rng.normal(size=(num_rows, *inputs.image_shape)).astype(np.float32)
    if inputs.num_numeric:
        yield "numeric", rng.normal(size=(num_rows, inputs.num_numeric)).astype(np.float32)
    if inputs.num_codes:
        yield "categorical", rng.integers(0, inputs.num_codes, (num_rows, len(inputs.num_codes)))
    if inputs.num_tokens:
        shape = (num_rows, inputs.text_length)
        tokens = np.stack([rng.integers(1, num, shape) for num in inputs.num_tokens], axis=1)
        yield "tokens", tokens * (np.arange(shape[1]) < rng.integers(0, shape[1] + 1, (num_rows, 1, 1)))
    if inputs.vocab_size:
        yield "tokens", rng.integers(0, inputs.vocab_size, (num_rows, inputs.sequence_length))


def tensors_of(inputs: ModelInputs, num_rows: int, seed: int = 0) -> tuple[Tensor, ...]:
    """The same as torch has them."""
    return tuple(torch.from_numpy(values) for values in rows_of(inputs, num_rows, seed).values())
