"""Successive halving for several objectives: rungs that rank by dominance, then by distance to neighbours.

Shape letters: N trials, M objectives.
"""

import math
from collections.abc import Sequence

import numpy as np

from training.metric_names import Mode
from training.search.judges.verdicts import LevelWords, loss_of, said

FIRST_ROOM = 64


class RankBracket:
    """A row of rungs. One trial dominates another if it is nowhere worse and somewhere better.

    A trial's rank is the number of trials that dominate it, 0 on the Pareto front; of two with one rank, the one that
    is further from its neighbours is ahead. As many go on as by a percentile of scores. Sources: the rank is that of
    Fonseca and Fleming, Genetic Algorithms for Multiobjective Optimization, ICGA 1993; the distance that of NSGA-II,
    Deb et al., IEEE Trans. Evol. Comput. 6 (2002).
    """

    def __init__(
        self, levels: Sequence[int], reduction_factor: float, modes: Sequence[Mode], words: LevelWords
    ) -> None:
        self.levels = tuple(levels)
        self._reduction_factor, self._modes, self._words = reduction_factor, modes, words
        self._rungs = {level: RankRung(len(modes)) for level in levels}

    def judge(self, trial: str, level: int, values: Sequence[float | None]) -> str | None:
        """Count the trial at the highest rung it has come to, once; why it is to stop, or None."""
        passed = [each for each in self.levels if each <= level]
        if not passed or trial in self._rungs[passed[-1]]:
            return None
        rung = self._rungs[passed[-1]]
        losses_M = np.array([loss_of(value, mode) for value, mode in zip(values, self._modes, strict=True)])
        num_others = len(rung)
        may_be_ahead = math.ceil((num_others - 1) / self._reduction_factor)
        rank, num_ahead = rung.place(losses_M, may_be_ahead)
        rung.add(trial, losses_M)
        if num_others == 0 or num_ahead <= may_be_ahead:
            return None
        own = ", ".join(said(loss, mode) for loss, mode in zip(losses_M, self._modes, strict=True))
        return (
            f"({own}) {self._words.at(level)}: {rank} of {num_others} trials are nowhere worse and somewhere better, "
            f"and at least {num_ahead} are ahead by rank, where {may_be_ahead} may be"
        )

    def forget(self, trial: str) -> None:
        """Take it off every rung."""
        for rung in self._rungs.values():
            rung.remove(trial)


class RankRung:
    """The losses of all trials that came here, and how many dominate each; grows by doubling."""

    def __init__(self, num_objectives: int) -> None:
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._losses_NM = np.empty((FIRST_ROOM, num_objectives))
        self._ranks_N = np.zeros(FIRST_ROOM, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, trial: str) -> bool:
        return trial in self._rows

    def place(self, losses_M: np.ndarray, enough: int) -> tuple[int, int]:
        """The rank that a newcomer has, and how many are ahead of it; above `enough` the second is a lower bound."""
        num = len(self)
        better_N, worse_N = self._dominance(losses_M)
        rank = int(better_N.sum())
        ranks_N = self._ranks_N[:num] + worse_N
        num_ahead, is_tied_N = int((ranks_N < rank).sum()), ranks_N == rank
        if num_ahead > enough or num_ahead + int(is_tied_N.sum()) <= enough:
            return rank, num_ahead
        distances_N = crowding(np.vstack([self._losses_NM[:num][is_tied_N], losses_M]))
        return rank, num_ahead + int((distances_N[:-1] > distances_N[-1]).sum())

    def add(self, trial: str, losses_M: np.ndarray) -> None:
        """A trial has come here."""
        num = len(self)
        better_N, worse_N = self._dominance(losses_M)
        if num == len(self._ranks_N):
            self._losses_NM = np.concatenate([self._losses_NM, np.empty_like(self._losses_NM)])
            self._ranks_N = np.concatenate([self._ranks_N, np.zeros_like(self._ranks_N)])
        self._ranks_N[:num] += worse_N
        self._losses_NM[num], self._ranks_N[num] = losses_M, better_N.sum()
        self._rows[trial] = num
        self._names.append(trial)

    def remove(self, trial: str) -> None:
        """A trial is taken off; the last one takes its row."""
        if trial not in self._rows:
            return
        row, last = self._rows.pop(trial), len(self) - 1
        _, worse_N = self._dominance(self._losses_NM[row])
        self._ranks_N[: last + 1] -= worse_N
        self._losses_NM[row], self._ranks_N[row] = self._losses_NM[last], self._ranks_N[last]
        moved = self._names.pop()
        if moved != trial:
            self._names[row], self._rows[moved] = moved, row

    def _dominance(self, losses_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which trials dominate one with these losses (N,), and which are dominated by it (N,)."""
        is_less_N = np.zeros(len(self), dtype=bool)
        is_more_N = np.zeros(len(self), dtype=bool)
        for column_N, loss in zip(self._losses_NM[: len(self)].T, losses_M, strict=True):
            is_less_N |= column_N < loss
            is_more_N |= column_N > loss
        return is_less_N & ~is_more_N, is_more_N & ~is_less_N


def crowding(losses_NM: np.ndarray) -> np.ndarray:
    """How far apart the neighbours of each trial are (N,), summed over objectives; infinite at either end of one."""
    distances_N = np.zeros(len(losses_NM))
    for column_N in losses_NM.T:
        order = np.argsort(column_N, kind="stable")
        rising_N = column_N[order]
        width = rising_N[-1] - rising_N[0]
        if width > 0:
            distances_N[order[1:-1]] += (rising_N[2:] - rising_N[:-2]) / width
            distances_N[order[[0, -1]]] = np.inf
    return distances_N
