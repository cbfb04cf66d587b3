"""report, runs: commands about what happened."""

import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import DEFAULT_STORAGE, Json, StorageFolder, Talk, console_of
from cluster.console import Console, table_lines
from training.errors import ConfigError

WATCH_PORT = 8770
SAID = {
    "waiting": "there is no such run yet; the page waits for it",
    "silent": "no process of this machine works on the run, and nothing is new",
    "over": "the run has ended; Ctrl-C stops serving its page",
}


def report(
    run: Annotated[str, typer.Argument(help="A run's name, its folder, or its config file.")],
    storage: StorageFolder = DEFAULT_STORAGE,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve the page on this machine and keep it up to date, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help=f"With --watch: its port; 0: any. {WATCH_PORT} without this."),
    ] = None,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Write a run's report.html and print its path; with --watch, serve it live and print its address."""
    console = console_of(talk)
    if watch:
        if as_json:
            raise ConfigError("--watch and --json do not go together", "without --watch, --json prints the run once")
        _watch(run, storage, WATCH_PORT if port is None else port, console)
        return
    if port is not None:
        raise ConfigError("--port is given without --watch", f"manta report {run} --watch --port {port}")
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


def _watch(run: str, storage: str, port: int, console: Console) -> None:
    """Look and serve until Ctrl-C, which is how this is meant to end."""
    from cluster.history import find_run, is_held
    from training.config_file import YAML_ENDINGS, load_experiment
    from training.report.live import LivePage
    from training.report.live_server import serving

    name, kind = Path(run).name, ""
    if Path(run).suffix in YAML_ENDINGS:
        name = load_experiment(Path(run)).name  # a file that is wrong would be waited for in vain
    page = LivePage(name, lambda: find_run(run, storage), is_held)
    try:
        with serving(page, port) as url:
            console.data(url)
            while True:
                wait_s = page.look()
                if page.snapshot.kind != kind:
                    kind = page.snapshot.kind
                    console.talk(SAID.get(kind, page.snapshot.status))
                time.sleep(wait_s)
    except KeyboardInterrupt:
        console.talk("the page is no longer served")


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
