"""Optuna behind Ray Tune, told the truth: a stopped trial is PRUNED, a broken one FAIL, a lost one goes on.

Ray's own OptunaSearch reports a trial that a scheduler stopped as complete with its truncated value, which
mixes fidelities in the sampler's model.
"""

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.search import Searcher

from training.config import SearchConfig
from training.journal import Journal
from training.metric_names import Mode
from training.progress import Progress, TrialDone
from training.progress import TrialState as State
from training.search.space import Choice, Dimension, IntRange, LogRange, Range
from training.search.trial import TRIAL_KEY

DONE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def to_distribution(dimension: Dimension) -> BaseDistribution:
    """Our words for a dimension in Optuna's."""
    match dimension:
        case Choice(choice=values):
            return CategoricalDistribution([_encode(value) for value in values])
        case Range(range=(low, high)):
            return FloatDistribution(low, high)
        case LogRange(log=(low, high)):
            return FloatDistribution(low, high, log=True)
        case IntRange(int=(low, high)):
            return IntDistribution(low, high)
    assert_never(dimension)  # a new kind fails the type check here, not in the middle of a search


def _encode(value: Any) -> Any:
    """Optuna keeps scalars; a list is kept as its JSON text."""
    return json.dumps(value) if isinstance(value, list) else value


def to_value(dimension: Dimension, value: Any) -> Any:
    """A stored parameter as the experiment's value."""
    if isinstance(dimension, Choice):
        return next(choice for choice in dimension.choice if _encode(choice) == value)
    return value


def open_study(path: Path, search: SearchConfig, mode: Mode) -> Study:
    """The run's study: made, or opened again after its driver died."""
    path.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(path)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate, constant_liar
        study = optuna.create_study(
            study_name="search", storage=storage, load_if_exists=True,
            direction="maximize" if mode == "max" else "minimize",
        )  # fmt: skip
        study.sampler = TPESampler(
            seed=search.seed + len(study.get_trials(deepcopy=False)),  # a resumed search must not repeat its draws
            n_startup_trials=search.startup_trials, multivariate=True, constant_liar=True,
        )  # fmt: skip
    return study


@dataclass
class OpenTrial:
    """A trial that has not ended, and what this driver heard of it."""

    trial: Trial
    curve: list[float] = field(default_factory=list)  # the score of each epoch
    seconds: float = 0.0
    last_epoch: int = 0

    def hear(self, result: dict[str, Any]) -> None:
        """One epoch is an intermediate value. One that is told twice counts once: Tune gives a trial's last result
        again at its end, and an actor that went on from a checkpoint repeats the epochs after it."""
        score, epoch = result.get("score"), int(result.get("epoch", 0))
        if score is None or math.isnan(score) or epoch <= self.last_epoch:
            return
        if epoch not in self.trial.storage.get_trial(self.trial._trial_id).intermediate_values:
            self.trial.report(score, epoch)
        self.curve.append(result["current"])
        self.seconds += result["seconds"]
        self.last_epoch = epoch


class OptunaBridge(Searcher):
    """Proposes trials from the study, and writes every outcome into it and into the run's journal."""

    def __init__(
        self,
        study: Study,
        search: SearchConfig,
        first: dict[str, Any],
        journal: Journal,
        progress: Progress,
    ) -> None:
        super().__init__(metric="score", mode="max" if study.direction == StudyDirection.MAXIMIZE else "min")
        self._study, self._search, self._journal, self._progress = study, search, journal, progress
        self._distributions = {key: to_distribution(dimension) for key, dimension in search.space.items()}
        self._open: dict[str, OpenTrial] = {}  # by Tune's id
        trials = study.get_trials(deepcopy=False)
        self._lost = [trial for trial in trials if trial.state == TrialState.RUNNING]  # their driver died
        self._num_started = self._num_done = sum(trial.state in DONE for trial in trials)
        self._record_unrecorded(trials)
        if not trials and first:
            study.enqueue_trial({key: _encode(value) for key, value in first.items()})

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]  # FINISHED is a text
        """The next trial's settings, FINISHED when all have been started. Lost trials go on first."""
        if self._num_started >= self._search.trials:
            finished: str = Searcher.FINISHED
            return finished
        self._num_started += 1
        trial = self._study.ask(self._distributions) if not self._lost else self._take_up(self._lost.pop(0))
        self._open[trial_id] = OpenTrial(trial)
        return {TRIAL_KEY: name_of(trial.number), **self._params(trial)}

    def _take_up(self, lost: FrozenTrial) -> Trial:
        trial = Trial(self._study, lost._trial_id)
        for key, distribution in self._distributions.items():
            # Gives back what was drawn; draws what was not, where the driver died between opening and drawing.
            trial._suggest(key, distribution)
        return trial

    def _params(self, trial: Trial | FrozenTrial) -> dict[str, Any]:
        return {key: to_value(dimension, trial.params[key]) for key, dimension in self._search.space.items()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Told after every epoch of a trial that goes on."""
        if trial_id in self._open:
            self._open[trial_id].hear(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Told once for each trial, however it ended."""
        done = self._open.pop(trial_id, None)
        if done is None:
            return
        done.hear(result or {})
        state, score, cause = _outcome(result, error)
        if cause:
            done.trial.set_user_attr("cause", cause)
        if score is not None and result is not None:
            done.trial.set_user_attr("loss", result["loss"])  # decides between equal scores
        self._study.tell(done.trial, score if state == TrialState.COMPLETE else None, state)
        self._num_done += 1
        self._record(done, state, score, cause)

    def _record(self, done: OpenTrial, state: TrialState, score: float | None, cause: str) -> None:
        told = TrialDone(
            trial=name_of(done.trial.number), state=STATES[state], params=self._params(done.trial), score=score,
            epochs=done.last_epoch, seconds=round(done.seconds, 4), cause=cause or None,
        )  # fmt: skip
        self._journal.append("trial", **vars(told), curve=done.curve)
        best = best_trial(self._study)
        self._progress.trial(told, self._num_done, self._search.trials, best_score(best) if best else None)

    def _record_unrecorded(self, trials: Sequence[FrozenTrial]) -> None:
        """A driver may have died between telling the study and the journal."""
        recorded = {event["trial"] for event in self._journal.events("trial")}
        for trial in trials:
            if trial.state in DONE and name_of(trial.number) not in recorded:
                self._journal.append(
                    "trial", trial=name_of(trial.number), state=STATES[trial.state], params=self._params(trial),
                    score=best_score(trial), epochs=trial.last_step or 0, seconds=0.0,
                    cause=trial.user_attrs.get("cause"), curve=list(trial.intermediate_values.values()),
                )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its settings, us among them, to restore from; we restore from the study, and hold a terminal.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study in the run's storage is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


def _outcome(result: dict[str, Any] | None, error: bool) -> tuple[TrialState, float | None, str]:
    if error or not result:
        return TrialState.FAIL, None, "the trial's process died, again and again"
    if cause := result.get("failed"):
        return TrialState.FAIL, None, cause
    score = float(result["score"])
    if math.isnan(score):
        return TrialState.FAIL, None, "the score was NaN in every epoch"
    return (TrialState.COMPLETE if result.get("finished") else TrialState.PRUNED), score, ""


def name_of(number: int) -> str:
    """The name of a trial everywhere: in the journal, the report and the run's folder."""
    return f"t{number:04d}"


def best_trial(study: Study) -> FrozenTrial | None:
    """The best finished trial; one that was stopped early only where none finished."""
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        trials = [trial for trial in study.get_trials(deepcopy=False, states=(state,)) if best_score(trial) is not None]
        if trials:
            sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
            return min(trials, key=lambda trial: (sign * (best_score(trial) or 0.0), trial.user_attrs.get("loss", 0.0)))
    return None


def best_score(trial: FrozenTrial) -> float | None:
    """A finished trial's value, or the last one reported."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def past_results(study: Study) -> Iterator[tuple[str, int, float]]:
    """(trial, epoch, score) of every epoch of finished trials, for a scheduler that must learn them again."""
    for trial in study.get_trials(deepcopy=False, states=DONE):
        for epoch, score in sorted(trial.intermediate_values.items()):
            yield name_of(trial.number), epoch, score
