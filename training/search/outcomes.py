"""The end of a trial, told to everybody who must know: first the study, then the journal, then all the others."""

import math
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from training.metric_names import Mode, is_better
from training.progress import Progress
from training.search.judges import Judge
from training.search.limits.spending import Spending
from training.search.limits.weights import KeptWeights
from training.search.open_trial import OpenTrial, finite
from training.search.record import SearchRecord
from training.search.study import DONE, STATES, SearchStudy, front_of, name_of, score_of
from training.search_config import SearchConfig


class Outcomes:
    """Of one execution, with those of earlier ones."""

    def __init__(
        self, *, study: SearchStudy, judge: Judge, modes: Sequence[Mode], spending: Spending, record: SearchRecord,
        weights: KeptWeights, progress: Progress, num_trials: int,
    ) -> None:  # fmt: skip
        """
        Args:
            study: where outcomes go.
            judge: who says which trial goes on.
            modes: of the objectives.
            spending: time and money.
            record: the journal's side.
            weights: whose stay.
            progress: told of each trial.
            num_trials: of the search.
        """
        self._study, self._judge, self._modes, self._num_trials = study, judge, modes, num_trials
        self._spending, self._record, self._weights, self._progress = spending, record, weights, progress
        self._best: float | None = None
        self.num_done = 0

    def recall(self, trials: Sequence[FrozenTrial]) -> None:
        """Trials of earlier drivers, and what those had no time to do with the ones that ended."""
        for trial in trials:
            parts = [part[2] for part in trial.user_attrs.get("parts", [])]
            # The scores of one that failed must not raise the bar for those that could still win.
            heard = [] if trial.state == TrialState.FAIL else trial.user_attrs.get("heard", [])
            for level, *values in heard:
                self._judge.recall(name_of(trial.number), int(level), values, parts[: int(level)])
            if trial.state not in DONE:
                continue
            self.num_done += 1
            score = score_of(trial)
            self._weights.recall(name_of(trial.number), STATES[trial.state], score, trial.user_attrs.get("loss", 0.0))
            if trial.state == TrialState.COMPLETE:
                self._note_best(score)
        if trials:
            self._weights.recall_front(self._front() or ())
            self._weights.sweep()

    def finish(self, opened: OpenTrial, state: TrialState, *, cause: str = "", stopped: str = "") -> bool:
        """Whether its weights are to be kept.

        It goes into the study, then into the journal: a driver that died between the two completes it when it starts.
        """
        values = [float(value) for value in opened.values]
        opened.remember(**self._attributes(opened, state, cause, stopped))
        self._study.study.tell(opened.trial, values if state == TrialState.COMPLETE else None, state)
        self._study.flush()
        if state == TrialState.FAIL:
            self._judge.forget(opened.name)
        else:
            self._judge.leave(opened.name)
        self.num_done += 1
        told = self._record.trial(opened, STATES[state], cause=cause, stopped=stopped)
        is_complete = state == TrialState.COMPLETE
        self._spending.trial_ended(values if is_complete else None, opened.useful_s)
        if is_complete:
            self._note_best(told.score)
        is_kept = self._weights.ended(
            opened.name, STATES[state], told.score, opened.loss, has_files=bool(opened.saved_bytes or opened.resumes),
            front=self._front() if is_complete else None,
        )  # fmt: skip
        self._progress.trial(told, self.num_done, self._num_trials, self._best)
        return is_kept

    @staticmethod
    def _attributes(opened: OpenTrial, state: TrialState, cause: str, stopped: str) -> dict[str, Any]:
        """What the study has no place of its own for."""
        # Intermediate values are the best so far: the scores themselves are for a journal that was not written.
        attributes: dict[str, Any] = {"loss": opened.loss, "curve": finite(opened.curve), "epochs": opened.epochs}
        if opened.parts:
            attributes["parts"] = [[part.fold, part.seed, part.score] for part in opened.parts]
        attributes |= {key: text for key, text in (("cause", cause), ("stopped", stopped)) if text}
        if state == TrialState.PRUNED and len(opened.values) > 1:
            attributes |= {"values": finite(opened.values), "score": opened.values[0]}
        return attributes

    def _front(self) -> list[str] | None:
        """Trials that no other one beats in all objectives; None where there is one objective."""
        return front_of(self._study.study, self._study.trials) if len(self._modes) > 1 else None

    def _note_best(self, score: float | None) -> None:
        if score is not None and is_better(score, self._best, self._modes[0]):
            self._best = score


def no_score(search: SearchConfig, values: Sequence[float]) -> str:
    """Why a trial that was trained to its end has failed: which objective was no number."""
    known = dict(zip(search.objectives, values, strict=False))
    name = next((name for name, value in known.items() if math.isnan(value)), "score")
    if name != "score":
        return f"the objective {name} was NaN"
    several = "in one of its trainings" if search.replicates > 1 else "in every epoch"
    return f"{search.metric or 'the score'} was NaN {several}"
