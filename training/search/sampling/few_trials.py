"""A study as a sampler sees it: the best trials and the newest ones, so that a proposal's cost does not grow.

TPE, GP and CMA-ES go through all finished trials for every proposal (the figures are in docs/decisions.md).
"""

import bisect
import heapq
from collections.abc import Container
from typing import Any, cast

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

NUM_BEST = 50  # TPE calls at most 25 trials good
LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


class FewTrials:
    """Remembers which finished trials are the best, and gives views of a study. It looks at each until it has ended."""

    def __init__(self, num_newest: int) -> None:
        """`num_newest` finished trials are seen beside the best ones."""
        self._num_newest = num_newest
        self._num_seen = 0
        self._open: list[int] = []  # numbers of those that had not ended
        self._finished: list[int] = []  # rising
        self._best: list[FrozenTrial] = []

    def of(self, study: Study) -> Study:
        """The study, with few of its finished trials. Those that run are all there."""
        return cast("Study", _View(study, self))

    def kept(self, study: Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The best and the newest, by number. `trials`: all of the study."""
        looked_at = [*(trials[number] for number in self._open), *trials[self._num_seen :]]
        self._num_seen = len(trials)
        self._open = [trial.number for trial in looked_at if not trial.state.is_finished()]
        new = [trial for trial in looked_at if trial.state in LEARNED_FROM]
        for trial in new:
            bisect.insort(self._finished, trial.number)
        self._best = _best_of([*self._best, *new], study.directions)
        if len(self._finished) <= self._num_newest:
            return trials
        best = {trial.number for trial in self._best}
        return [trials[number] for number in sorted({*self._finished[-self._num_newest :], *best, *self._open})]


class _View:
    """Optuna's samplers ask a study for its trials by `get_trials` and `_get_trials`; all else is the study's."""

    def __init__(self, study: Study, few: FewTrials) -> None:
        self._study, self._few = study, few

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The few, not copied: samplers change none."""
        return self._of(self._study.get_trials(deepcopy=False), states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """What samplers call. Nobody but this driver changes the study, so the list that Optuna makes once a proposal
        always does: at 10,000 trials another takes two milliseconds, and a key by itself asks each time."""
        return self._of(self._study._get_trials(deepcopy=False, use_cache=True), states)

    def _of(self, trials: list[FrozenTrial], states: Container[TrialState] | None) -> list[FrozenTrial]:
        kept = self._few.kept(self._study, trials)
        return [trial for trial in kept if states is None or trial.state in states]


def _best_of(trials: list[FrozenTrial], directions: list[StudyDirection]) -> list[FrozenTrial]:
    """As TPE ranks them: complete ones, then those that came furthest; of several objectives those on the front."""
    if len(directions) > 1:
        return _front([trial for trial in trials if trial.values], directions)
    sign = _sign(directions[0])

    def rank(trial: FrozenTrial) -> tuple[float, float]:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            return -np.inf, sign * trial.value
        step = trial.last_step
        return (1.0, 0.0) if step is None else (-step, sign * trial.intermediate_values[step])

    return heapq.nsmallest(NUM_BEST, trials, key=rank)


def _front(trials: list[FrozenTrial], directions: list[StudyDirection]) -> list[FrozenTrial]:
    """Those that no other one beats in everything; of too many the newest."""
    signs = np.array([_sign(direction) for direction in directions])
    values_NK = np.array([trial.values for trial in trials]).reshape(len(trials), len(directions)) * signs
    front: list[int] = []
    for i in np.lexsort(values_NK.T[::-1]):
        others_FK = values_NK[front]
        is_beaten = (others_FK <= values_NK[i]).all(axis=1) & (others_FK < values_NK[i]).any(axis=1)
        if not is_beaten.any():
            front.append(int(i))
    return sorted((trials[i] for i in front), key=lambda trial: trial.number)[-NUM_BEST:]


def _sign(direction: StudyDirection) -> float:
    return -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
