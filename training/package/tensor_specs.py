"""What a model takes after the transforms: names, types, shapes and codes of its tensors."""

from dataclasses import dataclass
from typing import Literal

from training.package.byte_tokens import VOCAB_SIZE
from training.package.fitted import Transforms


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the model."""

    dtype: Literal["float32", "int64"]
    shape: tuple[int | None, ...]  # without the batch axis; None: any size, as a text's windows
    num_codes: tuple[int, ...] = ()  # codes are 0 to one below; one number a column of the first axis, or one for all


def tensor_specs_of(transforms: Transforms) -> dict[str, TensorSpec]:
    """Tensors by name, in the order in which the model takes them; as `FeatureEncoder` gives them."""
    if transforms.bytes is not None:
        return {"tokens": TensorSpec("int64", (None, transforms.bytes.length + 1), (VOCAB_SIZE,))}
    specs: dict[str, TensorSpec] = {}
    if transforms.image is not None:
        specs["image"] = TensorSpec("float32", transforms.image.shape)
    if transforms.num_numeric:
        specs["numeric"] = TensorSpec("float32", (transforms.num_numeric,))
    if columns := transforms.embedded:
        specs["categorical"] = TensorSpec("int64", (len(columns),), tuple(column.num_codes for column in columns))
    if texts := transforms.texts:
        shape = (len(texts), transforms.text_length)
        specs["tokens"] = TensorSpec("int64", shape, tuple(text.num_codes for text in texts))
    return specs
