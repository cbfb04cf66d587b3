"""What the inputs in the `numeric` tensor stand for: numbers, flags, and columns of the table that have many inputs.

Shape letters: F inputs.
"""

from dataclasses import dataclass

import numpy as np

from training.package.fitted import Transforms


@dataclass(frozen=True)
class InputLayout:
    """The inputs in the order in which the transforms give them."""

    num_numbers: int  # come first; they take noise, and values between two of theirs
    flags: tuple[int, ...]  # inputs that are 0 or 1 by themselves: that a value was missing
    one_hot: tuple[tuple[int, int], ...]  # first input, and the one after the last, of each column of categories
    column_F: np.ndarray  # number of the table's column that an input comes from

    @property
    def num_columns(self) -> int:
        """Columns of the table that it has inputs of."""
        return int(self.column_F.max(initial=-1)) + 1

    @classmethod
    def of(cls, transforms: Transforms) -> "InputLayout":
        """From what was fitted."""
        numbers = transforms.numeric
        column = [*range(len(numbers)), *(i for i, number in enumerate(numbers) if number.indicator)]
        flags = list(range(len(numbers), len(column)))
        one_hot = []
        for category in transforms.one_hot:
            one_hot.append((len(column), len(column) + len(category.inputs)))
            column += [max(column, default=-1) + 1] * len(category.inputs)
        for date in transforms.dates:
            column += [max(column, default=-1) + 1] * len(date.inputs)
            flags.append(len(column) - 1)
        return cls(len(numbers), tuple(flags), tuple(one_hot), np.array(column, dtype=np.int64))
