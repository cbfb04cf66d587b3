"""Columns of categories as a model takes them. Shape letters: N rows, D distinct values."""

from typing import Any

import numpy as np
import pyarrow as pa

from training.package.fitted import FIRST_CODE, MISSING_CODE, UNKNOWN_CODE, CategoricalTransform
from training.package.values import Texts, distinct_texts


class CodeLookup:
    """One column's codes by text."""

    def __init__(self, column: CategoricalTransform, missing_texts: tuple[str, ...]) -> None:
        known = {text: FIRST_CODE + i for i, text in enumerate(column.vocabulary)}
        missing = MISSING_CODE if column.fill is None else known.get(column.fill, UNKNOWN_CODE)
        codes: dict[str | None, int] = dict.fromkeys((None, *missing_texts), missing)
        self._codes: dict[Any, int] = codes | known

    def __call__(self, values: Texts) -> np.ndarray:
        """Codes (N,) int64."""
        if isinstance(values, pa.Array | pa.ChunkedArray):
            # Each distinct text is looked up once, in the same way as below, and rows take its code.
            distinct, index_N = distinct_texts(values)
            return self._look_up(distinct)[index_N]
        return self._look_up(values.tolist())

    def _look_up(self, texts: list[str | None]) -> np.ndarray:
        found: list[int | None] = list(map(self._codes.get, texts))
        if None in found:
            # Tables are read without surrounding spaces; a client may leave them in.
            found = [
                self._codes.get(text.strip(), UNKNOWN_CODE) if code is None and text is not None else code
                for text, code in zip(texts, found, strict=True)
            ]
        return np.array(found, dtype=np.int64)


class OneHot:
    """One column as 0/1 inputs. A category that training did not see leaves all of them 0."""

    def __init__(self, column: CategoricalTransform, missing_texts: tuple[str, ...]) -> None:
        self.name, self.width = column.name, len(column.inputs)
        self._lookup = CodeLookup(column, missing_texts)
        self._place = np.full(column.num_codes, -1, dtype=np.int64)
        shown = (*column.rest, *range(FIRST_CODE, column.num_codes))
        self._place[list(shown)] = np.arange(len(shown))

    def into(self, out_NF: np.ndarray, values: Texts) -> None:
        """Write into `out_NF`, which has just its columns."""
        out_NF[:] = 0
        place_N = self._place[self._lookup(values)]
        rows = np.flatnonzero(place_N >= 0)
        out_NF[rows, place_N[rows]] = 1
