"""Model inputs as SMOTE takes them: one column a number or a category, and back.

Shape letters: N rows, M made rows, F inputs of `numeric`, X columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.input_layout import InputLayout
from training.package.fitted import Transforms


@dataclass(frozen=True)
class SmoteTable:
    """Numbers as they are, then flags, then one column of places for each one-hot category, then codes."""

    values_NX: np.ndarray
    is_category_X: np.ndarray
    layout: InputLayout
    between_F: np.ndarray  # inputs of which values between two are taken: numbers, and parts of dates
    names: tuple[str, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray], transforms: Transforms) -> "SmoteTable":
        """From the tensors `numeric` and `categorical`, of which either may be absent."""
        num_rows = len(next(iter(tensors.values())))
        numeric_NF = tensors.get("numeric", np.zeros((num_rows, 0), dtype=np.float32))
        codes = tensors.get("categorical", np.zeros((num_rows, 0), dtype=np.int64))
        layout = InputLayout.of(transforms)
        apart = {*layout.flags, *(i for first, end in layout.one_hot for i in range(first, end))}
        between_F = np.array([i for i in range(numeric_NF.shape[1]) if i not in apart], dtype=np.int64)
        flags = numeric_NF[:, list(layout.flags)]
        places = [_place(numeric_NF[:, first:end])[:, None] for first, end in layout.one_hot]
        values = np.concatenate([numeric_NF[:, between_F], flags, *places, codes], axis=1, dtype=np.float64)
        return cls(values, np.arange(values.shape[1]) >= len(between_F), layout, between_F, tuple(tensors))

    def tensors(self, made_MX: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of such columns as tensors of the model."""
        layout, num_between = self.layout, len(self.between_F)
        numeric_MF = np.zeros((len(made_MX), len(layout.column_F)), dtype=np.float32)
        numeric_MF[:, self.between_F] = made_MX[:, :num_between]
        end_of_flags = num_between + len(layout.flags)
        numeric_MF[:, list(layout.flags)] = made_MX[:, num_between:end_of_flags]
        for column, (first, end) in enumerate(layout.one_hot, end_of_flags):
            places_M = made_MX[:, column].astype(np.int64)
            numeric_MF[:, first:end] = places_M[:, None] == np.arange(1, end - first + 1)
        codes = made_MX[:, end_of_flags + len(layout.one_hot) :].astype(np.int64)
        tensors: dict[str, np.ndarray] = {"numeric": numeric_MF, "categorical": codes}
        return {name: tensors[name] for name in self.names}


def _place(one_hot_NF: np.ndarray) -> np.ndarray:
    """Which input is 1, counted from 1; 0 where none is, as for a category that training did not see."""
    return np.where(one_hot_NF.any(axis=1), one_hot_NF.argmax(axis=1) + 1, 0)
