"""submit, status, logs, stop: commands about Ray jobs."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import Json, Talk, console_of
from cluster.console import duration, table_lines

Dashboard = Annotated[
    str,
    typer.Option("--address", metavar="URL", envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard."),
]
JobId = Annotated[str, typer.Argument(help="The job's id, as `manta submit` printed it.")]
INTERRUPTED = 130
DEFAULT_DASHBOARD = "http://127.0.0.1:8265"


def submit(
    command: Annotated[list[str], typer.Argument(help="What to run there: -- run configs/adult.yaml --set ...")],
    address: Dashboard = DEFAULT_DASHBOARD,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return.")] = False,
    working_dir: Annotated[Path, typer.Option(help="Folder that travels with the job.")] = Path(),
    python: Annotated[str | None, typer.Option(help="Python on the cluster; `python` there if not given.")] = None,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Run a command as a Ray job, and exit as it does."""
    console = console_of(talk)
    from cluster import submit as jobs

    client = jobs.client_for(address, console.is_verbose)
    job_id = jobs.submit(client, command, working_dir.resolve(), python or jobs.python_for(address))
    if no_wait:
        console.data({"id": job_id} if as_json else job_id)
        return
    console.talk(f"job {job_id} at {address}")
    try:
        jobs.follow(client, job_id, sys.stdout.write)
    except KeyboardInterrupt:
        console.talk(f"the job goes on; its log: manta logs {job_id} --follow, its end: manta stop {job_id}")
        raise typer.Exit(INTERRUPTED) from None
    job = jobs.wait_until_ended(client, job_id)
    code = jobs.exit_code_of(job)
    console.talk(f"job {job_id} {job.status.lower()}" + (f": {job.message}" if code and job.exit_code is None else ""))
    raise typer.Exit(code)


def status(
    job_id: Annotated[str | None, typer.Argument(help="One job; all of them otherwise.", show_default=False)] = None,
    address: Dashboard = DEFAULT_DASHBOARD,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Show a job, or all of them."""
    console = console_of(talk)
    from cluster import submit as jobs

    client = jobs.client_for(address, console.is_verbose)
    found = [jobs.job_of(client, job_id)] if job_id else jobs.jobs_of(client)
    if as_json:
        console.data(vars(found[0]) if job_id else [vars(job) for job in found])
        return
    rows = [["job", "status", "started", "took", "exit", "command"]]
    for job in found:
        began = datetime.fromtimestamp(job.started).strftime("%Y-%m-%d %H:%M:%S") if job.started else "-"
        took = duration((job.ended or datetime.now().timestamp()) - job.started) if job.started else "-"
        code = "-" if job.exit_code is None else str(job.exit_code)
        rows.append([job.id, job.status, began, took, code, job.command])
    console.data("\n".join(table_lines(rows)))


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    address: Dashboard = DEFAULT_DASHBOARD,
    talk: Talk = None,
) -> None:
    """Print a job's log."""
    console = console_of(talk)
    from cluster import submit as jobs

    client = jobs.client_for(address, console.is_verbose)
    if follow:
        jobs.follow(client, job_id, sys.stdout.write)
    else:
        console.data(jobs.log_of(client, job_id))


def stop(job_id: JobId, address: Dashboard = DEFAULT_DASHBOARD, as_json: Json = False, talk: Talk = None) -> None:
    """End a job; its run is kept."""
    console = console_of(talk)
    from cluster import submit as jobs

    client = jobs.client_for(address, console.is_verbose)
    was_running = jobs.stop(client, job_id)
    job = jobs.wait_until_ended(client, job_id)
    console.talk(f"job {job_id} {'is stopped' if was_running else 'had ended'}: {job.status.lower()}")
    if as_json:
        console.data(vars(job))
