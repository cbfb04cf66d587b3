"""Feature transforms as applied: raw columns to the tensors a model takes, in training and in serving alike.

`training.features` fits them on the training split; this file is the only code that applies them.
Shape letters: N rows, F numeric columns, C categorical columns.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from training.package.manifest import InputSpec
from training.package.shapes import StoredModel

# Numbers further than this many scales from the mean count as just that far. Int8 takes one scale for a whole row,
# so one absurd value would drown the others in it; and one near float32's end would overflow to NaN.
MAX_SCALES = 20.0

MISSING_CODE, UNKNOWN_CODE, FIRST_CODE = 0, 1, 2  # categorical codes: the vocabulary starts at 2


class NumericTransform(StoredModel):
    """Standardise one column. A missing value becomes `fill` (the training median) first."""

    name: str
    fill: float
    mean: float
    scale: float  # never 0: a constant column has scale 1


class CategoricalTransform(StoredModel):
    """Map one text column to codes; see `MISSING_CODE` and `UNKNOWN_CODE` for the rest."""

    name: str
    vocabulary: tuple[str, ...]  # most frequent first

    @property
    def num_codes(self) -> int:
        """Size of the embedding table."""
        return FIRST_CODE + len(self.vocabulary)


class ImageTransform(StoredModel):
    """Normalise an image input, one mean and scale for all pixels."""

    name: str
    shape: tuple[int, int, int]  # C, H, W
    mean: float
    scale: float


class Transforms(StoredModel):
    """Everything between a client's columns and the model's tensors."""

    numeric: tuple[NumericTransform, ...] = ()
    categorical: tuple[CategoricalTransform, ...] = ()
    image: ImageTransform | None = None
    missing_texts: tuple[str, ...] = ()  # spellings of a missing category, as `data.missing` had them


class FeatureEncoder:
    """`Transforms`, ready to apply."""

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = transforms
        numeric = transforms.numeric
        self._numeric_names = [column.name for column in numeric]
        self._fill_F = np.array([column.fill for column in numeric], dtype=np.float32)
        self._mean_F = np.array([column.mean for column in numeric], dtype=np.float32)
        self._scale_F = np.array([column.scale for column in numeric], dtype=np.float32)
        self._low_F = self._mean_F - np.float32(MAX_SCALES) * self._scale_F
        self._high_F = self._mean_F + np.float32(MAX_SCALES) * self._scale_F
        missing: dict[str | None, int] = dict.fromkeys((None, *transforms.missing_texts), MISSING_CODE)
        self._codes = [
            (column.name, missing | {value: FIRST_CODE + i for i, value in enumerate(column.vocabulary)})
            for column in transforms.categorical
        ]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Model tensors by name, in the model's order: `image`, or `numeric` and `categorical` where there are any.

        Args:
            inputs: raw columns by name: numeric (N,) float with NaN where missing, categorical (N,) of
                str or None, images (N, C, H, W) float.
        """
        tensors: dict[str, np.ndarray] = {}
        if (image := self.transforms.image) is not None:
            mean, scale = np.float32(image.mean), np.float32(image.scale)
            reach = np.float32(MAX_SCALES) * scale
            raw_NCHW = np.asarray(inputs[image.name], dtype=np.float32)
            tensors["image"] = (np.minimum(np.maximum(raw_NCHW, mean - reach), mean + reach) - mean) / scale
        if self._numeric_names:
            raw_NF = np.stack([np.asarray(inputs[name], dtype=np.float32) for name in self._numeric_names], axis=1)
            raw_NF = np.where(np.isnan(raw_NF), self._fill_F, raw_NF)
            raw_NF = np.minimum(np.maximum(raw_NF, self._low_F), self._high_F)
            tensors["numeric"] = (raw_NF - self._mean_F) / self._scale_F
        if self._codes:
            tensors["categorical"] = np.stack([_encode(inputs[name], codes) for name, codes in self._codes], axis=1)
        return tensors


def _encode(values_N: np.ndarray, codes: dict[Any, int]) -> np.ndarray:
    lookup = codes.get
    found = [lookup(value) for value in values_N.tolist()]
    # Tables are read without surrounding spaces; a client may leave them in.
    codes_N = [
        lookup(value.strip(), UNKNOWN_CODE) if code is None else code
        for value, code in zip(values_N, found, strict=True)
    ]
    return np.array(codes_N, dtype=np.int64)


def inputs_from_table(table: pa.Table, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    """The columns a model takes, as the arrays that `FeatureEncoder` wants.

    An image input stands in a table as one column a pixel, in the order of `spec.columns`.
    Raises KeyError naming the first column that the table lacks.
    """
    inputs: dict[str, np.ndarray] = {}
    for spec in specs:
        if spec.kind == "image":
            pixels = [_numeric_column(table, name) for name in spec.columns]
            inputs[spec.name] = np.stack(pixels, axis=1).reshape(-1, *spec.shape)
        elif spec.kind == "numeric":
            inputs[spec.name] = _numeric_column(table, spec.name)
        else:
            inputs[spec.name] = text_column(table, spec.name)
    return inputs


def _numeric_column(table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name)  # KeyError names the column
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)  # null becomes NaN


def text_column(table: pa.Table, name: str) -> np.ndarray:
    """A column as (N,) objects: str, or None where missing. Numbers become their shortest text."""
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = np.empty(len(column), dtype=object)
    values[:] = column.cast(pa.string()).to_pylist()
    return values
