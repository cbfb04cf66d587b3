"""report, runs: commands about what happened."""

from typing import Annotated

import typer

from cluster.commands.options import DEFAULT_STORAGE, Json, StorageFolder, Talk, console_of
from cluster.console import table_lines


def report(
    run: Annotated[str, typer.Argument(help="A run's name, its folder, or its config file.")],
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Write a run's report.html and print its path."""
    console = console_of(talk)
    from cluster.history import find_run
    from cluster.summary_text import summary_text
    from training.report.page import write_report
    from training.run_record import RunRecord
    from training.summary import summarise

    folder = find_run(run, storage)
    path = write_report(folder)
    if as_json:
        console.data(summarise(folder).model_dump(mode="json"))
        return
    console.talk(summary_text(RunRecord.read(folder)))
    console.data(str(path))


def runs(storage: StorageFolder = DEFAULT_STORAGE, as_json: Json = False, talk: Talk = None) -> None:
    """List the runs in a storage folder."""
    console = console_of(talk)
    from cluster.history import state_of
    from cluster.summary_text import folds_summary
    from training.run_mirror import fetched
    from training.summary import summaries

    found = summaries(fetched(storage))
    if as_json:
        console.data([run.model_dump(mode="json") for run in found])
        return
    if not found:
        console.talk(f"no runs in {storage.partition('?')[0]}")
        return
    has_folds = any(run.cross_validation for run in found)
    rows = [["run", "state", "score", *(["cross-validation"] if has_folds else []), "variant", "release", "started"]]
    for run in found:
        score = "-" if run.test_score is None else f"{run.test_metric} {run.test_score:.4f}"
        folds = [folds_summary(run.cross_validation)] if has_folds else []
        last = (run.chosen or "-", run.release or "-", run.started_at or "-")
        rows.append([run.name, state_of(run), score, *folds, *last])
    console.data("\n".join(table_lines(rows)))
