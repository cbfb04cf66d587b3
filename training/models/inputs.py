"""The sizes of what a model is given and must give."""

from dataclasses import dataclass

from training.package.byte_tokens import VOCAB_SIZE
from training.package.transforms import Transforms


@dataclass(frozen=True)
class ModelInputs:
    """What a model is given and must give. A custom class may take it as its `inputs` argument."""

    num_numeric: int  # width of the `numeric` tensor, 0 where there is none
    num_codes: tuple[int, ...]  # codes of each column of the `categorical` tensor
    image_shape: tuple[int, int, int] | None  # C, H, W of the `image` tensor
    num_outputs: int  # logits: one a class or label, or 1 for a regression
    num_tokens: tuple[int, ...] = ()  # token ids of each text of the `tokens` tensor, padding (0) included
    text_length: int = 0  # ids of a text
    vocab_size: int = 0  # above 0: a language model, whose input is `tokens` (B, L) and output logits (B, L, V)
    sequence_length: int = 0  # L, tokens that a language model sees at most

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
            vocab_size=VOCAB_SIZE if transforms.bytes else 0,
            sequence_length=transforms.bytes.length if transforms.bytes else 0,
        )

    @property
    def of_tables(self) -> tuple[str, ...]:
        """Names of the tensors beside `image`."""
        sizes = {"numeric": self.num_numeric, "categorical": self.num_codes, "tokens": self.num_tokens}
        return tuple(name for name, size in sizes.items() if size)
