"""The search's study in the run's folder, only to read."""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study

from training.search.study import FILE, STUDY_NAME


def read_study(run_folder: Path) -> Study | None:
    """The study; None where there is none, or none that can be read to its end just now."""
    path = run_folder / "trials" / FILE
    if not path.exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(path))))
    except (KeyError, ValueError):
        return None  # a search that has just begun, or a driver killed in mid-write: the next one repairs the file
