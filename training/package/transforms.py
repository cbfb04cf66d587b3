"""Feature transforms as applied: raw columns to the tensors a model takes, in training and in serving alike.

`training.features` fits them on the training split; `FeatureEncoder` is the only code that applies them.
Shape letters: N rows, F columns of the `numeric` tensor, C of the `categorical` one, T texts, L tokens of a text.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from training.package.byte_tokens import ByteEncoder
from training.package.categories import CodeLookup, OneHot
from training.package.columns import encoder_inputs, inputs_from_table
from training.package.dates import DateEncoder
from training.package.errors import NoPiiKey, PackageError
from training.package.fitted import (
    FIRST_CODE,
    MISSING_CODE,
    UNKNOWN_CODE,
    CategoricalTransform,
    DatePartTransform,
    DateTransform,
    ImageTransform,
    NumericTransform,
    TextTransform,
    Transforms,
)
from training.package.numbers import MAX_SCALES, NumericEncoder
from training.package.pii import KEY_VARIABLE, Pseudonymiser, is_pseudonym
from training.package.tokens import TokenEncoder
from training.package.values import Texts, distinct_texts, text_column

__all__ = [
    "FIRST_CODE",
    "MAX_SCALES",
    "MISSING_CODE",
    "UNKNOWN_CODE",
    "CategoricalTransform",
    "DatePartTransform",
    "DateTransform",
    "FeatureEncoder",
    "ImageTransform",
    "NumericTransform",
    "TextTransform",
    "Transforms",
    "encoder_inputs",
    "inputs_from_table",
    "text_column",
]

BLOCK_ROWS = 8192  # of a wide table still fit the processor's cache


class FeatureEncoder:
    """`Transforms`, ready to apply."""

    def __init__(self, transforms: Transforms, pseudonymiser: Pseudonymiser | None = None) -> None:
        """Raises PackageError where the pseudonymiser's key is not the one that training had.

        Args:
            transforms: as fitted.
            pseudonymiser: for raw values of columns that were pseudonymised as they were read. Rows of training
                are pseudonymised already and need none.
        """
        self.transforms = transforms
        check, missing = transforms.hash_key_check, transforms.missing_texts
        if pseudonymiser is not None and check and pseudonymiser.key_check() != check:
            raise PackageError(
                f"the key of personal data is another than in training (its check is {pseudonymiser.key_check()}, "
                f"that of training {check}): columns {', '.join(transforms.hashed)}",
                f"set {KEY_VARIABLE}, or the file in {KEY_VARIABLE}_FILE, to the key that training had",
            )
        self._pseudonymiser, self._kept_texts = pseudonymiser, frozenset(("", *missing))
        self._image = transforms.image
        self._numbers = NumericEncoder(transforms.numeric)
        self._others: list[OneHot | DateEncoder] = [
            *(OneHot(column, missing) for column in transforms.one_hot),
            *(DateEncoder(column) for column in transforms.dates),
        ]
        self._width = transforms.num_numeric
        self._codes = [(column.name, CodeLookup(column, missing)) for column in transforms.embedded]
        self._bytes = ByteEncoder(transforms.bytes) if transforms.bytes is not None else None
        self._texts = [TokenEncoder(column, missing) for column in transforms.texts]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Model tensors by name, in the model's order, each where there are such columns.

        `image` (N, C, H, W) float32, `numeric` (N, F) float32, `categorical` (N, C) int64, and `tokens` (N, T, L) int64
        with 0 behind the last token. Of a language model `tokens` alone, (N, W, L + 1), see `ByteEncoder`.

        Args:
            inputs: raw columns by name: numeric (N,) float with NaN where missing, categorical and text (N,) of str or
                None or as Arrow text, date (N,) datetime64 with NaT where missing, images (N, C, H, W).

        Raises:
            NoPiiKey: a raw value of a pseudonymised column, and no key.
        """
        inputs = self.pseudonymise(inputs)
        tensors: dict[str, np.ndarray] = {}
        if self._bytes is not None:
            return {"tokens": self._bytes(inputs[self._bytes.name])}
        if self._image is not None:
            tensors["image"] = _normalise(np.asarray(inputs[self._image.name]), self._image)
        if self._width:
            tensors["numeric"] = self._numeric(inputs)
        if self._codes:
            columns = [lookup(inputs[name]) for name, lookup in self._codes]
            tensors["categorical"] = _side_by_side(columns)
        if self._texts:
            tensors["tokens"] = self._tokens(inputs)
        return tensors

    def pseudonymise(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same inputs, with raw values of pseudonymised columns replaced. What is a pseudonym already stays.

        Raises:
            NoPiiKey: there is such a value, and no key.
        """
        if not self.transforms.hashed:
            return inputs
        return {
            name: self._pseudonyms(name, values) if name in self.transforms.hashed else values
            for name, values in inputs.items()
        }

    def _pseudonyms(self, name: str, values: Texts) -> Texts:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            texts, index_N = distinct_texts(values)
            return pa.array([self._pseudonym(name, text) for text in texts], pa.string()).take(pa.array(index_N))
        replaced = np.empty(len(values), dtype=object)
        replaced[:] = [self._pseudonym(name, text) for text in values.tolist()]
        return replaced

    def _pseudonym(self, name: str, text: str | None) -> str | None:
        if text is None or (text := text.strip()) in self._kept_texts or is_pseudonym(text):
            return text
        if self._pseudonymiser is None:
            raise NoPiiKey(
                f"{name!r} is personal data that the model knows by pseudonyms only, and there is no key to make them",
                f"set {KEY_VARIABLE}, or {KEY_VARIABLE}_FILE, where the model is served, or send pseudonyms",
            )
        return self._pseudonymiser.text(text)

    def _numeric(self, inputs: Mapping[str, Any]) -> np.ndarray:
        numbers, end = self._numbers, self._numbers.width
        columns = numbers.columns(inputs)
        num_rows = len(columns[0]) if columns else len(inputs[self._others[0].name])
        out_NF = np.empty((num_rows, self._width), dtype=np.float32)
        if columns:
            for start in range(0, num_rows, BLOCK_ROWS):
                stop = start + BLOCK_ROWS
                numbers.into(out_NF[start:stop], columns, start, stop)
        for part in self._others:
            start, end = end, end + part.width
            part.into(out_NF[:, start:end], inputs[part.name])
        return out_NF

    def _tokens(self, inputs: Mapping[str, Any]) -> np.ndarray:
        num_rows = len(inputs[self._texts[0].name])
        out_NTL = np.zeros((num_rows, len(self._texts), self.transforms.text_length), dtype=np.int64)
        for index, encoder in enumerate(self._texts):
            encoder.into(out_NTL[:, index], inputs[encoder.name])
        return out_NTL


def _side_by_side(columns: list[np.ndarray]) -> np.ndarray:
    out_NC = np.empty((len(columns[0]), len(columns)), dtype=np.int64)
    for index, column_N in enumerate(columns):
        out_NC[:, index] = column_N
    return out_NC


def _normalise(raw_NCHW: np.ndarray, image: ImageTransform) -> np.ndarray:
    mean, scale = np.float32(image.mean), np.float32(image.scale)
    reach = np.float32(MAX_SCALES) * scale
    out_NCHW = np.array(raw_NCHW, dtype=np.float32)
    np.maximum(out_NCHW, mean - reach, out=out_NCHW)
    np.minimum(out_NCHW, mean + reach, out=out_NCHW)
    np.subtract(out_NCHW, mean, out=out_NCHW)
    np.divide(out_NCHW, scale, out=out_NCHW)
    return out_NCHW
