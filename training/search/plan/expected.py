"""How much of a search's training its scheduler is expected to leave, by letting it judge trials made up by chance."""

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from training.metric_names import Mode
from training.search.judges import Judge, Stop

MOST_TRIALS = 300  # of a larger search as many are played, and the rest is taken to be like them
TRENDS = (0.0, 0.0, 0.0, 1.5, 1.5, 1.5)  # by how much the last trial is better than the first: samplers learn
PART_NOISE = 0.5  # spread of a trial's folds about its own mean, where trials differ by 1


class Share(NamedTuple):
    """Levels that are trained, as a share of all levels of all trials."""

    least: float
    usual: float
    most: float


def expected_share(
    judge_of: Callable[[], Judge], num_trials: int, num_slots: int, last_level: int, modes: list[Mode]
) -> Share:
    """Let a new judge decide over trials whose scores keep their order from level to level, T of them, O objectives.

    Args:
        judge_of: makes the judge.
        num_trials: of the search.
        num_slots: trials at a time: a scheduler knows less when it judges many at once.
        last_level: of a trial.
        modes: of the objectives.
    """
    played = min(num_trials, MOST_TRIALS)
    shares = [_played(judge_of(), _scores(played, trend, modes, seed), num_slots, last_level, seed)
              for seed, trend in enumerate(TRENDS)]  # fmt: skip
    return Share(min(shares), float(np.median(shares)), max(shares))


def _scores(num_trials: int, trend: float, modes: list[Mode], seed: int) -> np.ndarray:
    """Of each trial (T, O), in each objective: they differ by 1, and the later ones are better."""
    signs = np.array([1.0 if mode == "max" else -1.0 for mode in modes])
    drawn = np.random.default_rng(seed).normal(size=(num_trials, len(modes)))
    return (drawn + np.linspace(0, trend, num_trials)[:, None]) * signs


def _played(judge: Judge, scores_TO: np.ndarray, num_slots: int, last_level: int, seed: int) -> float:
    num_trials = len(scores_TO)
    noise_TL = np.random.default_rng(seed + 1000).normal(size=(num_trials, last_level))
    parts_TL = scores_TO[:, :1] + PART_NOISE * noise_TL
    names = [f"t{i:04d}" for i in range(num_trials)]
    total, begun = 0, min(num_slots, num_trials)
    for name in names:
        judge.meet(name, {})
    turns = [(judge.next_level(names[i], 0), i, 0) for i in range(begun)]  # time, trial, level it comes from
    heapq.heapify(turns)
    while turns:
        now, i, before = heapq.heappop(turns)
        level = judge.next_level(names[i], before)
        total += level - before
        verdict = judge.hear(names[i], level, list(scores_TO[i]), list(parts_TL[i, :level]))
        if level < last_level and not isinstance(verdict, Stop):
            heapq.heappush(turns, (now + judge.next_level(names[i], level) - level, i, level))
            continue
        judge.leave(names[i])
        if begun < num_trials:
            heapq.heappush(turns, (now + judge.next_level(names[begun], 0), begun, 0))
            begun += 1
    return total / (num_trials * last_level)
