"""A learning curve of an experiment: its data, a Ray to train on, the record and its page."""

from pathlib import Path

from cluster.place import Place
from training.config import Experiment
from training.curve import measure
from training.curve_record import LOCK_FILE, CurvePlan, CurveRecord, missing_jobs, open_curve
from training.data.prepare import prepare
from training.pipeline import deciding_metric
from training.progress import Progress
from training.report.curve_page import curve_page
from training.run_folder import RunFolder, write_text
from training.suitable import require_suitable

PAGE_FILE = "curve.html"


def curve(experiment: Experiment, progress: Progress, place: Place, plan: CurvePlan) -> tuple[CurveRecord, Path]:
    """Measure what is missing; returns the record and the path of its page."""
    run = RunFolder.of(experiment)
    code_path = str(place.code_folder.resolve())
    with run.alone(LOCK_FILE):
        progress.stage("data", experiment.data.source)
        prepared = prepare(experiment.data, code_path=code_path)
        for note in prepared.notes:
            progress.note(note)
        if experiment.search is not None:
            progress.note("the experiment's own settings are trained, not those of its search's best trial")
        require_suitable(experiment.train, prepared.facts, prepared.validation.target)
        metric = deciding_metric(experiment, prepared.facts)
        record = open_curve(experiment, prepared, run, metric)
        if jobs := missing_jobs(record, plan):
            with place.session():
                record = measure(record, jobs, experiment, prepared, run, progress, code_path)
        page = run.path / PAGE_FILE
        write_text(page, curve_page(record))
    return record, page
