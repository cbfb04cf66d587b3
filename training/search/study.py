"""The study in the run's storage: Optuna's own journal format, written by one driver at a time.

Anybody may open it while no search writes: optuna.load_study(study_name="search",
storage=JournalStorage(JournalFileBackend("<run>/trials/study.log"))).
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import Study, StudyDirection
from optuna.study._multi_objective import _get_pareto_front_trials_by_trials
from optuna.trial import FrozenTrial, TrialState

from training.errors import StorageError
from training.metric_names import Mode
from training.progress import TrialState as State

STUDY_NAME = "search"
FILE = "study.log"
DONE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
EARLIER = "from"  # user attribute of a trial that an earlier run made: it teaches the sampler, and is not ours


class OneWriterFile(BaseJournalBackend):
    """Optuna's journal file without its lock, flushed when told to.

    The run's folder has one driver at a time, so a lock would only be one more thing that a killed driver leaves
    behind (Optuna's waits 30 s for a dead holder). Optuna also forces each single operation to disk, some ten of them a
    trial; here they go together, before anything acts on them.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_stump(path)
        self._path = path
        self._unread: list[dict[str, Any]] = []
        self._unwritten: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The whole file at the start, and from then on what this process appends."""
        if log_number_from == 0:
            self.flush()
            self._unread = []
            with self._path.open("rb") if self._path.exists() else open(os.devnull, "rb") as file:
                for line in file:
                    yield json.loads(line)
            return
        unread, self._unread = self._unread, []
        yield from unread

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Remember; `flush` writes."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        self._unwritten += lines
        self._unread += [json.loads(line) for line in lines]  # as a reader of the file will see them

    def flush(self) -> None:
        """Force what is new to disk. Raises StorageError."""
        if not self._unwritten:
            return
        try:
            with self._path.open("ab") as file:
                file.write("".join(self._unwritten).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"the study {self._path} cannot be written: {error.strerror or error}",
                "make room or restore the access; the same command goes on from what is there",
            ) from error
        self._unwritten = []


def _drop_stump(path: Path) -> None:
    """A driver that was killed in mid-write left half a line, after which Optuna would read no further."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


class SearchStudy:
    """An Optuna study and its file."""

    def __init__(self, path: Path, modes: Sequence[Mode]) -> None:
        """Made, or opened again after its driver died.

        Args:
            path: its file.
            modes: of the objectives.

        Raises:
            StorageError: the file is damaged.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._backend = OneWriterFile(path)
        directions = [StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE for mode in modes]
        try:
            self.study: Study = optuna.create_study(
                study_name=STUDY_NAME, storage=JournalStorage(self._backend), load_if_exists=True,
                directions=directions,
            )  # fmt: skip
        except (ValueError, KeyError, json.JSONDecodeError) as error:
            raise StorageError(
                f"the study {path} is damaged: {error}",
                "bring it back from a copy, or give the search another name (--set name=...)",
            ) from error
        self.flush()

    def flush(self) -> None:
        """Force what is new to disk."""
        self._backend.flush()

    def close(self) -> None:
        """Write what is left."""
        self._backend.flush()

    @property
    def trials(self) -> list[FrozenTrial]:
        """This search's own that were begun, by number; neither those that earlier runs lent, nor points that wait."""
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if EARLIER not in trial.user_attrs and trial.state != TrialState.WAITING
        ]


def name_of(number: int) -> str:
    """The name of a trial everywhere: in the journal, the report and the run's folder."""
    return f"t{number:04d}"


def is_better_first(study: Study) -> float:
    """-1 where a large score is good, else 1: what sorts the best to the front."""
    return -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0


def best_trial(study: Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The finished trial with the best score; one that was stopped early only where none finished, and one that the
    end of the budget left open only where there is none of these either."""
    sign = is_better_first(study)
    front = front_of(study, trials)  # of several with the best score, one that no other beats in the rest
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING):
        scored = [
            (score_of(trial), trial)
            for trial in trials
            if trial.state == state and (state != TrialState.COMPLETE or not front or name_of(trial.number) in front)
        ]
        known = [(score, trial) for score, trial in scored if score is not None]
        if known:
            return min(known, key=lambda pair: (sign * pair[0], pair[1].user_attrs.get("loss", 0.0), pair[1].number))[1]
    return None


def front_of(study: Study, trials: Sequence[FrozenTrial]) -> list[str]:
    """Names of the finished trials that no other one beats in all objectives; none where there is one objective."""
    if len(study.directions) == 1:
        return []
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return [name_of(trial.number) for trial in _get_pareto_front_trials_by_trials(complete, study.directions)]


def score_of(trial: FrozenTrial) -> float | None:
    """A trial's score, or the last one that was heard; None where there is none."""
    if trial.values:
        return trial.values[0]
    if trial.intermediate_values:
        return trial.intermediate_values[max(trial.intermediate_values)]
    known: float | None = trial.user_attrs.get("score")
    heard = trial.user_attrs.get("heard")  # at rungs: a level, and the objectives
    return heard[-1][1] if known is None and heard else known
