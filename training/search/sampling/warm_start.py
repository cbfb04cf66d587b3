"""Trials of earlier runs, lent to a search: they teach its sampler, and are neither its trials nor its result."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import ValidationError

from training.config import Experiment
from training.errors import ConfigError
from training.run_folder import RunFolder
from training.run_mirror import is_uri
from training.run_record import RunRecord, mapping_in
from training.search.space.drawing import Space
from training.search.space.values import same
from training.search.study import EARLIER, FILE, STUDY_NAME, name_of

LENT = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass
class Lent:
    """What became of an earlier run's trials."""

    run: str
    num_lent: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of those that do not fit

    def words(self) -> str:
        """In a line."""
        num_others = sum(self.reasons.values())
        why = "; ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        return f"{self.num_lent} of {self.num_lent + num_others} trials of {self.run} are known" + (
            f" ({why})" if why else ""
        )


def lend(study: Study, space: Space, experiment: Experiment, metric: str) -> list[Lent]:
    """Add the trials of `search.from` that fit to the study, each once, however often this is called.

    A trial fits where the metric, the direction and the objectives are the same, and where each key of this space has
    a value that the space holds: the trial's own, or what was fixed in its experiment. A key that it searched and that
    is fixed here must have had this very value.

    Args:
        study: of this search.
        space: of this search.
        experiment: of this search.
        metric: the score that decides, without its prefix.

    Raises:
        ConfigError: a run that does not exist, or has no search.
        StorageError: the object store of a run cannot be reached.
    """
    assert experiment.search is not None
    known = {trial.user_attrs.get(EARLIER) for trial in study.get_trials(deepcopy=False)}
    told = []
    for name in experiment.search.from_:
        earlier = _Earlier.read(name, experiment)
        lent = Lent(name)
        mismatch = earlier.mismatch(experiment, study, metric)
        for trial in earlier.trials:
            values, reason = (None, mismatch) if mismatch else earlier.fitted(trial, space)
            if values is None:
                lent.reasons[reason] += 1
                continue
            lent.num_lent += 1
            mark = f"{earlier.label}/{name_of(trial.number)}"
            if mark not in known:
                study.add_trial(_copy(trial, space, values, mark))
        told.append(lent)
    return told


def require_earlier(experiment: Experiment) -> None:
    """Raise ConfigError where a run of `search.from` does not exist or has no search."""
    if experiment.search is not None:
        for name in experiment.search.from_:
            _Earlier.read(name, experiment)


def _copy(trial: FrozenTrial, space: Space, values: Mapping[str, Any], mark: str) -> FrozenTrial:
    kept = {key: value for key, value in trial.user_attrs.items() if key == "loss"}
    return create_trial(
        state=trial.state, values=trial.values, params=space.stored(values), distributions=space.distributions(values),
        user_attrs={**kept, EARLIER: mark}, intermediate_values=trial.intermediate_values,
    )  # fmt: skip


@dataclass(frozen=True)
class _Earlier:
    """A run that has searched."""

    label: str  # the same however the run is named: its name where it lies beside ours, else its folder
    experiment: Experiment
    space: Space
    study: Study
    record: RunRecord

    @classmethod
    def read(cls, name: str, experiment: Experiment) -> "_Earlier":
        run = _folder_of(name, experiment)
        path = run.trials / FILE
        if not run.path.is_dir():
            raise ConfigError(f"search.from names {name}, and there is no run in {run.path}", _runs_beside(run.path))
        if not path.exists():
            raise ConfigError(
                f"search.from names {name}, and the run in {run.path} has not searched", _runs_beside(run.path)
            )
        try:
            then = Experiment.model_validate(mapping_in(run.experiment_file, yaml.safe_load))
            study = optuna.load_study(study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(path))))
        except (ValidationError, ValueError, KeyError) as error:
            raise ConfigError(
                f"search.from names {name}, whose search cannot be read: {' '.join(str(error).split())[:200]}",
                "it was made by another version, or is damaged; take it out of search.from",
            ) from error
        if then.search is None:
            raise ConfigError(f"search.from names {name}, whose experiment has no search", _runs_beside(run.path))
        is_beside = run.path.parent == RunFolder.of(experiment).path.parent
        return cls(
            run.path.name if is_beside else str(run.path),
            then,
            Space(then.search, then),
            study,
            RunRecord.read(run.path),
        )

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def mismatch(self, experiment: Experiment, study: Study, metric: str) -> str:
        """Why none of the trials can be compared with ours; empty where they can."""
        then, now = self.experiment.search, experiment.search
        assert then is not None
        assert now is not None
        if self.record.metric != f"validation/{metric}":
            return f"judged by {self.record.metric}, not validation/{metric}"
        if then.objectives != now.objectives or self.study.directions != study.directions:
            return f"have the objectives {', '.join(then.objectives)}, not {', '.join(now.objectives)}"
        return ""

    def fitted(self, trial: FrozenTrial, space: Space) -> tuple[dict[str, Any] | None, str]:
        """The trial's values in this space, or None and why it does not fit."""
        if EARLIER in trial.user_attrs:
            return None, "were lent by another run"
        if trial.state not in LENT:
            return None, "failed" if trial.state == TrialState.FAIL else "have not ended"
        searched = self.space.values_of(trial)
        for key in searched.keys() - space.dimensions.keys():
            if not _is_fixed_at(space, key, searched[key]):
                return None, f"have another {key} than this experiment"
        values: dict[str, Any] = {}
        for key in space.dimensions:
            if space.conditions.is_drawn(key, values):
                value = searched.get(key, _fixed(self.space, key, searched))
                if value is not _NOTHING:
                    values[key] = value
        lacking = space.lacking(values)
        return (None, f"do not fit: {lacking}") if lacking else (values, "")


_NOTHING = object()


def _fixed(space: Space, key: str, searched: Mapping[str, Any]) -> Any:
    """What an experiment had at a key that it did not search; nothing where another kind of model was tried."""
    try:
        kind = space.conditions.fixed("model.kind") if key.startswith("model.") else None
        is_own = kind is None or searched.get("model.kind", kind) == kind
        return space.conditions.fixed(key) if is_own else _NOTHING
    except KeyError:
        return _NOTHING


def _is_fixed_at(space: Space, key: str, value: Any) -> bool:
    try:
        return same(space.conditions.fixed(key), value)
    except KeyError:
        return False


def _folder_of(name: str, experiment: Experiment) -> RunFolder:
    """A run by its name beside this one, or by its folder or URI."""
    if is_uri(name):
        storage, _, last = name.partition("?")[0].rstrip("/").rpartition("/")
        options = name.partition("?")[1] + name.partition("?")[2]
        return RunFolder.of(experiment.model_copy(update={"storage": storage + options, "name": last})).refreshed()
    if Path(name).is_dir() and (Path(name) / "experiment.yaml").exists():
        return RunFolder(Path(name).resolve())
    if name == experiment.name:
        raise ConfigError(f"search.from names {name}, which is this run", "its own trials are known anyway")
    return RunFolder.of(experiment.model_copy(update={"name": name})).refreshed()


def _runs_beside(path: Path) -> str:
    beside = sorted(found.parent.parent.name for found in path.parent.glob(f"*/trials/{FILE}"))
    return f"runs there that have searched: {', '.join(beside[:8])}" if beside else "no run there has searched"
