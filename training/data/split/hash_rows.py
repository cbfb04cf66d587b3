"""Parts by a hash of the row's id or content: a row keeps its part whatever else the table holds.

Shape letters: N rows.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.data.cell_hash import cell_hashes, key_of, mix
from training.data.config import FoldsConfig
from training.data.split.strata import decoded


@dataclass(frozen=True)
class HashRows:
    """Divides by hashes. Shares are met as by chance: within about `2 * sqrt(share / num_ids)` of a part."""

    hashes_N: np.ndarray  # uint64, equal for equal ids
    seed: int

    def cut(self, rows: np.ndarray, share: float, step: int, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows kept and rows held out."""
        is_held_N = hash_numbers(self.hashes_N[rows], self.seed, f"cut {step}") < share
        return rows[~is_held_N], rows[is_held_N]

    def fold(self, rows: np.ndarray, folds: FoldsConfig, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the other folds, and of this one."""
        numbers_N = hash_numbers(self.hashes_N[rows], self.seed, "fold")
        is_held_N = (numbers_N * folds.count).astype(np.int64) == folds.index
        return rows[~is_held_N], rows[is_held_N]


def hash_numbers(hashes_N: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """Evenly spread numbers (N,) in [0, 1), a pure function of hash, seed and purpose.

    Args:
        hashes_N: uint64.
        seed: of the division.
        purpose: numbers for two purposes know nothing of each other.
    """
    mixed_N = mix(hashes_N ^ key_of(f"{purpose} of seed {seed}"))
    return (mixed_N >> np.uint64(11)).astype(np.float64) * 2.0**-53


def id_hashes(column: pa.ChunkedArray) -> np.ndarray:
    """Hashes (N,) uint64 of ids, without the column's name. 17, 17.0 and the text "17" are one id.

    A file whose ids were read as numbers may hold texts when rows are appended.
    """
    column = decoded(column)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        column = column.cast(pa.large_string())
    hashes = [cell_hashes(chunk) for chunk in column.chunks]
    return np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
