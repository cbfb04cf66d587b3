"""The page of a run put together from its sections and charts."""

from pathlib import Path

from training.report import sections, training_charts
from training.report.compress_section import variants
from training.report.data_section import data
from training.report.folds_section import folds, folds_chart
from training.report.search.section import search
from training.report.search.view import Search
from training.report.shell import Part, html_page, together
from training.report.training_section import training
from training.run_folder import write_text
from training.run_record import RunRecord


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path. Any run will do: unfinished, failed, without search.

    Raises:
        StorageError: the folder is not a run.
    """
    path = run_folder / "report.html"
    write_text(path, render(RunRecord.read(run_folder)))
    return path


def render(record: RunRecord) -> str:
    """The whole page."""
    inside = contents(record)
    return html_page(record.name, inside.html, inside.figures)


def contents(record: RunRecord, *, is_on: bool = False) -> Part:
    """What is on the page, without its frame. Args: is_on: whether the run goes on right now."""
    found = Search(record)
    top = Part(sections.header(record, found, is_on=is_on))
    rest = folds(record) + training(record) + data(record) + sections.environment(record)
    figures = {name: draw(record) for name, draw in _CHARTS.items() if f'data-chart="{name}"' in rest}
    return together([top, variants(record), search(found), Part(rest, figures)])


_CHARTS = {
    "losses": training_charts.fit_losses,
    "scores": training_charts.fit_scores,
    **{name: measured.draw for name, measured in training_charts.MEASURED.items()},
    "folds": folds_chart,
}
