"""Single rows by chance, the share of each stratum kept.

Shape letters: N rows, K strata.
"""

from dataclasses import dataclass

import numpy as np

from training.data.config import FoldsConfig
from training.data.split.parts import MIN_HELD_OUT
from training.data.split.strata import Strata
from training.errors import DataError


@dataclass(frozen=True)
class RandomRows:
    """Divides by chance. Each stratum's share of a part is met within one row."""

    strata: Strata | None
    seed: int

    def cut(self, rows: np.ndarray, share: float, step: int, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows kept and rows held out; of each stratum at least `parts_left` are kept and one is held out."""
        num_strata = len(self.strata.names) if self.strata else 1
        # Each class needs a row on both sides, so small tables get a larger share than asked for.
        num_held = max(round(len(rows) * share), num_strata, MIN_HELD_OUT)
        if len(rows) - num_held < num_strata:
            raise DataError(
                f"{len(rows)} rows are too few to divide: {num_held} held out leave {len(rows) - num_held} to train on",
                "add rows, or lower data.split.validation and data.split.test",
            )
        draw = np.random.RandomState((self.seed + step) % 2**32)  # all that NumPy's older generator takes
        if self.strata is None:  # as scikit-learn's `train_test_split` does, which takes a second to import
            is_held_N = np.zeros(len(rows), dtype=bool)
            is_held_N[draw.permutation(len(rows))[:num_held]] = True
        else:
            is_held_N = _draw(self.strata.ids[rows], num_strata, num_held, parts_left, draw)
        return rows[~is_held_N], rows[is_held_N]

    def fold(self, rows: np.ndarray, folds: FoldsConfig, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the other folds, and of this one. Rows are dealt in turn, a stratum after the other."""
        shuffled = np.random.default_rng([self.seed, 2]).permutation(len(rows))
        if self.strata is not None:
            shuffled = shuffled[np.argsort(self.strata.ids[rows][shuffled], kind="stable")]
        is_held_N = np.zeros(len(rows), dtype=bool)
        is_held_N[shuffled[folds.index :: folds.count]] = True
        return rows[~is_held_N], rows[is_held_N]


def _draw(
    ids_N: np.ndarray, num_strata: int, num_held: int, parts_left: int, draw: np.random.RandomState
) -> np.ndarray:
    """Which rows (N,) bool are held out: the very ones that scikit-learn's `train_test_split(stratify=...)` would take.

    That one gathers rows in Python lists, 4 s and 600 MB at 10 million rows; this takes a fifth. Where it would leave
    a small stratum without a row on one side, one row more or less of it is held out.
    """
    counts_K = np.bincount(ids_N, minlength=num_strata)
    kept_K = _apportion(counts_K, len(ids_N) - num_held, draw)
    _apportion(counts_K - kept_K, num_held, draw)  # scikit-learn draws here, and what is drawn next depends on it
    kept_K = counts_K - np.clip(counts_K - kept_K, 1, counts_K - parts_left)
    by_stratum = np.split(np.argsort(ids_N, kind="stable"), np.cumsum(counts_K)[:-1])
    is_held_N = np.zeros(len(ids_N), dtype=bool)
    for places, num_kept in zip(by_stratum, kept_K, strict=True):
        is_held_N[places[draw.permutation(len(places))[num_kept:]]] = True
    return is_held_N


def _apportion(counts_K: np.ndarray, num: int, draw: np.random.RandomState) -> np.ndarray:
    """Rows (K,) of each stratum, `num` together, by largest remainders with equal ones settled by lot.

    Source: scikit-learn, `StratifiedShuffleSplit`.
    """
    exact_K = counts_K / counts_K.sum() * num
    given_K = np.floor(exact_K)
    left = int(num - given_K.sum())
    remainder_K = exact_K - given_K
    for value in np.unique(remainder_K)[::-1]:
        if left <= 0:
            break
        (equal,) = np.nonzero(remainder_K == value)
        chosen = draw.choice(equal, size=min(len(equal), left), replace=False)
        given_K[chosen] += 1
        left -= len(chosen)
    return given_K.astype(np.int64)
