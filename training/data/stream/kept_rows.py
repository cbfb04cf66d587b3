"""Rows drawn at random from a stream that is read once: those with the smallest draws.

Shape letters: M rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class KeptRows:
    """At most `limit` rows, the same ones in whatever pieces the stream came."""

    rows: pa.Table
    row_ids_M: np.ndarray  # numbers in the whole table, rising
    draws_M: np.ndarray
    limit: int

    @classmethod
    def of(cls, rows: pa.Table, row_ids_M: np.ndarray, draws_M: np.ndarray, limit: int, below: float) -> Self:
        """Of a piece.

        Args:
            rows: of the piece.
            row_ids_M: their numbers, rising.
            draws_M: a random number in [0, 1) for each.
            limit: rows to keep.
            below: draws from which on no row will be kept in the end, as far as can be told.
        """
        places = np.flatnonzero(draws_M < below)
        if len(places) > limit:
            places = np.sort(places[np.argpartition(draws_M[places], limit)[:limit]])
        return cls(rows.take(pa.array(places)), row_ids_M[places], draws_M[places], limit)


def merged_rows(pieces: Sequence[KeptRows]) -> KeptRows:
    """Of several pieces, in their order."""
    rows = pa.concat_tables([piece.rows for piece in pieces], promote_options="permissive")
    row_ids_M = np.concatenate([piece.row_ids_M for piece in pieces])
    draws_M = np.concatenate([piece.draws_M for piece in pieces])
    return KeptRows.of(rows, row_ids_M, draws_M, pieces[0].limit, below=1.0)
