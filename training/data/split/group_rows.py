"""Whole groups by chance, sizes and strata as even as whole groups allow.

Linear in rows and groups. scikit-learn's `StratifiedGroupKFold` takes a step of Python for each group and fold.

Shape letters: N rows, G groups, K strata, P parts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from training.data.config import FoldsConfig
from training.data.split.strata import Strata
from training.errors import DataError

NUM_WEIGHED = 2000  # groups weighed one by one at each end; a step of Python each, 0.1 s together


@dataclass(frozen=True)
class GroupRows:
    """Divides by groups. See `deal_groups` for how near the shares come."""

    groups_N: np.ndarray  # integers from 0
    strata: Strata | None
    seed: int
    column: str

    def cut(self, rows: np.ndarray, share: float, step: int, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows kept, with at least `parts_left` groups, and rows held out."""
        parts_N = self._deal(rows, np.array([1 - share, share]), np.array([parts_left, 1]), step)
        return rows[parts_N == 0], rows[parts_N == 1]

    def fold(self, rows: np.ndarray, folds: FoldsConfig, parts_left: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the other folds, with at least `parts_left` groups, and of this one."""
        least = -(-parts_left // (folds.count - 1))
        parts_N = self._deal(rows, np.full(folds.count, 1 / folds.count), np.full(folds.count, least), step=2)
        return rows[parts_N != folds.index], rows[parts_N == folds.index]

    def _deal(self, rows: np.ndarray, shares_P: np.ndarray, least_P: np.ndarray, step: int) -> np.ndarray:
        groups_N = _renumbered(self.groups_N[rows])
        num_groups = int(groups_N.max()) + 1
        if num_groups < least_P.sum():
            raise DataError(
                f"data.split.by {self.column} has {num_groups} groups in the {len(rows)} rows to divide, too few: "
                f"groups stay whole, and {least_P.sum()} are needed",
                "add groups, ask for fewer folds, split by a finer column, or use data.split.kind: random",
            )
        ids_N = self.strata.ids[rows] if self.strata else np.zeros(len(rows), dtype=np.uint8)
        num_strata = len(self.strata.names) if self.strata else 1
        weights = group_weights(groups_N, num_groups, ids_N, num_strata)
        return deal_groups(weights, shares_P, least_P, np.random.default_rng([self.seed, step]))[groups_N]


def _renumbered(groups_N: np.ndarray) -> np.ndarray:
    """The same groups (N,), numbered without gaps."""
    is_there_G = np.zeros(int(groups_N.max()) + 1, dtype=bool)
    is_there_G[groups_N] = True
    return (np.cumsum(is_there_G) - 1)[groups_N]


def group_weights(groups_N: np.ndarray, num_groups: int, ids_N: np.ndarray, num_strata: int) -> csr_array:
    """What each group brings (G, K + 1): its share of each stratum, and in the last column of all rows.

    That last column counts as much as all the strata that there are together.
    """
    rows_of_stratum_K = np.maximum(np.bincount(ids_N, minlength=num_strata), 1)
    counts = csr_array((np.ones(len(ids_N)), (groups_N, ids_N.astype(np.int32))), shape=(num_groups, num_strata + 1))
    counts.sum_duplicates()
    sizes_G = np.bincount(groups_N, minlength=num_groups)
    scale = np.append(1 / rows_of_stratum_K, 0.0)
    counts.data *= scale[counts.indices]
    all_rows = np.sqrt(num_strata) * sizes_G / sizes_G.sum()
    totals = csr_array((all_rows, (np.arange(num_groups), np.full(num_groups, num_strata))), shape=counts.shape)
    return csr_array(counts + totals)


def deal_groups(weights: csr_array, shares_P: np.ndarray, least_P: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The part (G,) of each group, so that every part comes near to its share of every column.

    The groups that weigh most are placed one by one, each where the squared distance to what is wanted, over the
    share, falls most. The many in between are dealt by chance, and the lightest, again one by one, even out what is
    left: where they are many, shares are met far within one percent.

    Args:
        weights: what each group brings (G, K + 1).
        shares_P: wanted, together 1.
        least_P: groups that each part gets at least, together no more than G.
        draw: where chance comes from.
    """
    num_groups = weights.shape[0]
    shuffled = draw.permutation(num_groups)
    # By powers of two: within one of them chance decides, so that seeds differ.
    magnitude = np.frexp(weights.max(axis=1).toarray().ravel())[1].astype(np.int16)
    order = shuffled[np.argsort(-magnitude[shuffled], kind="stable")]
    dealer = _Dealer(weights, shares_P, least_P, draw)
    if num_groups <= 2 * NUM_WEIGHED:
        dealer.weigh(order)
    else:
        dealer.weigh(order[:NUM_WEIGHED])
        dealer.throw(order[NUM_WEIGHED:-NUM_WEIGHED])
        dealer.weigh(order[-NUM_WEIGHED:])
    return dealer.part_G


class _Dealer:
    """What was given so far."""

    def __init__(
        self, weights: csr_array, shares_P: np.ndarray, least_P: np.ndarray, draw: np.random.Generator
    ) -> None:
        self.weights, self.shares_P, self.draw = weights, shares_P, draw
        self.part_G = np.full(weights.shape[0], -1, dtype=np.int32)
        self.num_left = weights.shape[0]
        self.lacking_P = least_P.copy()  # groups that a part must still get
        self.wanted_PK = np.outer(shares_P, weights.sum(axis=0))

    def weigh(self, groups: np.ndarray) -> None:
        """Place these one by one."""
        starts, columns, values = self.weights.indptr, self.weights.indices, self.weights.data
        for group in groups.tolist():
            own = slice(starts[group], starts[group + 1])
            weight_K, wanted_PK = values[own], self.wanted_PK[:, columns[own]]
            gain_P = (wanted_PK - weight_K / 2) @ weight_K / self.shares_P
            if self.num_left <= self.lacking_P.sum():
                gain_P[self.lacking_P <= 0] = -np.inf
            part = int(np.argmax(gain_P))
            self.part_G[group] = part
            self.wanted_PK[part, columns[own]] -= weight_K
            self.lacking_P[part] = max(self.lacking_P[part] - 1, 0)
            self.num_left -= 1

    def throw(self, groups: np.ndarray) -> None:
        """Deal these by chance, in the proportion of the rows that are still wanted."""
        wanted_P = np.maximum(self.wanted_PK[:, -1], 0)
        parts = np.searchsorted(np.cumsum(wanted_P / wanted_P.sum())[:-1], self.draw.random(len(groups)), side="right")
        self.part_G[groups] = parts
        is_given = csr_array((np.ones(len(groups)), (parts, groups)), shape=(len(self.shares_P), len(self.part_G)))
        self.wanted_PK -= (is_given @ self.weights).toarray()
        self.lacking_P = np.maximum(self.lacking_P - np.bincount(parts, minlength=len(self.shares_P)), 0)
        self.num_left -= len(groups)
