"""Trials for slots: those that go on, and new ones."""

from collections import deque
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial, Trial

from training.search.open_trial import OpenTrial
from training.search.sampling.proposals import Proposals
from training.search.study import DONE, SearchStudy, name_of


class Supply:
    """Of one execution."""

    def __init__(self, study: SearchStudy, proposals: Proposals, num_trials: int, last_level: int) -> None:
        """
        Args:
            study: that holds the trials.
            proposals: who says what to try next.
            num_trials: of the search.
            last_level: at which a trial ends.
        """
        self._study, self._proposals, self._num_trials, self._last_level = study, proposals, num_trials, last_level
        self._again: deque[OpenTrial] = deque()
        self._num_started = 0

    def take_up(self, trials: Sequence[FrozenTrial]) -> None:
        """Trials that were open when their driver died go on first; no more of them than the search is to have."""
        self._num_started = len(trials)
        open_trials = [frozen for frozen in trials if frozen.state not in DONE]
        num_done = len(trials) - len(open_trials)
        for frozen in open_trials[: max(0, self._num_trials - num_done)]:
            trial = Trial(self._study.study, frozen._trial_id)
            opened = OpenTrial.reopened(frozen, trial, self._proposals.drawn(trial), self._proposals.source_of(frozen))
            opened.share = opened.level / self._last_level if opened.useful_s else 0.0
            self._again.append(opened)

    @property
    def has_more(self) -> bool:
        """Whether a slot could have something."""
        return bool(self._again) or self._may_start

    @property
    def waiting(self) -> Iterator[OpenTrial]:
        """Those that are to go on."""
        return iter(self._again)

    @property
    def _may_start(self) -> bool:
        return self._num_started < self._num_trials and not self._proposals.is_exhausted

    def again(self, opened: OpenTrial) -> None:
        """It goes on when there is a slot for it."""
        self._again.append(opened)

    def clear(self) -> None:
        """Those that wait are suspected no more."""
        for opened in self._again:
            opened.is_suspect = False

    def next(self, *, is_free: bool) -> OpenTrial | None:
        """A trial that goes on, or a new one; None where there is none.

        Args:
            is_free: the slot has no trial. Only such a one gets a trial that is suspected of ending its process.
        """
        for opened in self._again:
            if is_free or not opened.is_suspect:
                self._again.remove(opened)
                return opened
        proposed = self._proposals.ask() if self._may_start else None
        if proposed is None:
            return None
        self._num_started += 1
        trial, params, source = proposed
        return OpenTrial(name_of(trial.number), trial, params, source)
