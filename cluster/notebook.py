"""The same work from Python, for notebooks.

from cluster.notebook import load

experiment = load("configs/digits.yaml", overrides={"train.epochs": 3})
run = experiment.run()
run.metrics, run.trials(), run.predict([{...}])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster import folds as folds_of
from cluster import work
from cluster.console import Console, Level
from cluster.place import Place
from cluster.reproduce import Reproduction, reproduce
from serving.predictor import Predictor
from training.config import Experiment
from training.config_file import load_experiment, with_overrides
from training.cross_validation.record import CrossValidation, FoldsPlan
from training.errors import StorageError
from training.report.page import write_report
from training.run_folder import RunFolder
from training.run_record import RunRecord
from training.summary import RunSummary, summarise


@dataclass(frozen=True)
class LoadedRun:
    """What an experiment came to. Reads the run's folder; nothing is computed twice."""

    folder: RunFolder

    @property
    def summary(self) -> RunSummary:
        """State, score, choice, times, paths."""
        return summarise(self.folder.path)

    @property
    def metrics(self) -> dict[str, float]:
        """Held-out scores of the chosen variant; empty before there is one."""
        record = RunRecord.read(self.folder.path)
        chosen = record.last("compressed").get("chosen")
        return next((dict(variant.metrics) for variant in record.variants if variant.name == chosen), {})

    @property
    def package(self) -> Path:
        """The package's folder."""
        return self.folder.package

    def trials(self) -> pa.Table:
        """One row a trial: trial, state, score, epochs, seconds, cause, and one column a searched key."""
        found = RunRecord.read(self.folder.path).trials
        columns = ("trial", "state", "score", "epochs", "seconds", "cause")
        rows = [{name: event.get(name) for name in columns} | _plain(event["params"]) for event in found]
        names = dict.fromkeys([*columns, *(name for row in rows for name in row)])  # a key may be drawn in some trials
        return pa.table({name: _column([row.get(name) for row in rows]) for name in names})

    def report(self) -> Path:
        """Write report.html anew and return its path."""
        return write_report(self.folder.path)

    def predict(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> Any:
        """Answers of the chosen variant: a table for a table, records for records."""
        predictor = Predictor.load(self.package)
        if isinstance(rows, pa.Table):
            return predictor.predict_table(rows)
        return predictor.predict_records([dict(row) for row in rows])


@dataclass(frozen=True)
class LoadedExperiment:
    """A checked experiment and where it runs."""

    experiment: Experiment
    place: Place = field(default_factory=Place)
    level: Level = Level.NORMAL

    def run(self) -> LoadedRun:
        """The whole way, as `manta run`; a finished run is not done again."""
        with work.run(self.experiment, Console(self.level), self.place):
            return LoadedRun(RunFolder.of(self.experiment))

    def cross_validate(self, folds: int, seeds: int = 1, *, refit: bool = True) -> CrossValidation:
        """Scores over folds, as `manta train --folds`; what is done is not done again.

        Args:
            folds: each is held out once; the test part stays out of all of them.
            seeds: trainings of each fold.
            refit: whether a model of all rows follows, which is then the run's.
        """
        console = Console(self.level)
        return folds_of.cross_validate(self.experiment, console, self.place, FoldsPlan(folds, seeds), with_refit=refit)

    def reproduce(self, *, keep: bool = False) -> Reproduction:
        """Train the run's model again and compare, as `manta reproduce`."""
        return reproduce(RunFolder.of(self.experiment).path, Console(self.level), self.place, keep=keep)

    def result(self) -> LoadedRun:
        """The run as it stands. Raises StorageError when it was never started."""
        folder = RunFolder.of(self.experiment)
        if not folder.journal.path.exists():
            raise StorageError(f"{folder.path} holds no run", "experiment.run() starts it")
        return LoadedRun(folder)

    def check(self) -> dict[str, Any]:
        """The resolved experiment, every default filled in. Its problems were raised when it was loaded."""
        return self.experiment.model_dump(mode="json")

    def with_overrides(self, overrides: Mapping[str, Any]) -> "LoadedExperiment":
        """The same experiment with other values at some keys. Raises ConfigError."""
        return LoadedExperiment(with_overrides(self.experiment, overrides), self.place, self.level)


def load(
    config: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    address: str | None = None,
    num_cpus: int | None = None,
    verbose: bool = False,
) -> LoadedExperiment:
    """Read and check an experiment file. Raises ConfigError with every problem at once.

    Args:
        config: the YAML file.
        overrides: key -> value, as `--set`.
        address: a Ray cluster's "host:port" or "auto"; without it, a Ray on this machine for each piece of work.
        num_cpus: CPUs of that local Ray; None takes all.
        verbose: let Ray speak.
    """
    path = Path(config)
    experiment = load_experiment(path)
    if overrides:
        experiment = with_overrides(experiment, overrides)
    place = Place(address, path.parent, verbose, num_cpus)
    return LoadedExperiment(experiment, place, Level.VERBOSE if verbose else Level.NORMAL)


def _column(values: list[Any]) -> pa.Array:
    """Of trials' values; of several types (0.5, null, auto) as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Values that one column can hold for all trials: lists become text."""
    return {key: str(value) if isinstance(value, list | tuple | dict) else value for key, value in params.items()}
