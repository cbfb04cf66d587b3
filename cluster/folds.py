"""A cross-validation of an experiment: its run's folder, a Ray where something is missing, the record and the page."""

from pathlib import Path

from cluster.place import Place
from training import pipeline
from training.config import Experiment
from training.cross_validation.record import CrossValidation, FoldsPlan
from training.cross_validation.run import cross_validate as make
from training.pipeline import working
from training.progress import Progress
from training.report.page import write_report
from training.run_folder import RunFolder


def cross_validate(
    experiment: Experiment, progress: Progress, place: Place, plan: FoldsPlan, *, with_refit: bool = True
) -> CrossValidation:
    """Make what is missing, as `manta train --folds`; raises what `training.cross_validation.run` does."""
    code_path = str(place.code_folder.resolve())
    with working(experiment, progress, "train --folds", code_path, place.accepts_changed_data) as work:
        record = make(work, plan, place.session, with_refit=with_refit)
        pipeline.finish(work)
        write_report(work.run.path)
        return record


def folder_of(experiment: Experiment) -> Path:
    """Where record, predictions and page are."""
    return RunFolder.of(experiment).path
