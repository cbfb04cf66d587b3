"""The same command as a Ray job: ship, follow, and end as the job ended."""

import asyncio
import difflib
import ipaddress
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.errors import JobError
from cluster.quiet import quiet_ray
from cluster.shipping import files_to_ship, own_packages, shipment
from cluster.tokens import refused, use_token_if_there_is_one
from serving.config import attach_environment
from training.config_file import YAML_ENDINGS, load_experiment
from training.package.errors import UserError

CONNECT_TIMEOUT_S = 10.0
STOP_WAIT_S = 20  # between asking a job to end and killing it: it takes its endpoint down and closes its journal
POLL_S = 0.5
AGENT_WAIT_S = 60.0  # for the part of a cluster that starts jobs, which comes up seconds after its dashboard
NO_AGENT = "No available agent"
ON_EXPERIMENTS = ("train", "tune", "compress", "run")
OTHERS = ("check", "deploy", "predict", "export", "report", "reproduce", "runs", "models", "doctor")
ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
STOPPED_EXIT_CODE = 143


@dataclass(frozen=True)
class Job:
    """A job as it stands."""

    id: str
    status: str
    command: str
    started: float | None  # unix seconds
    ended: float | None
    exit_code: int | None
    message: str

    @classmethod
    def of(cls, details: JobDetails) -> "Job":
        """From Ray's description."""
        started, ended = ((stamp / 1000 if stamp else None) for stamp in (details.start_time, details.end_time))
        return cls(
            str(details.submission_id or details.job_id),
            str(details.status.value),
            details.entrypoint,
            started,
            ended,
            details.driver_exit_code,
            (details.message or "").partition("\n")[0],
        )


def client_for(address: str, verbose: bool = False) -> JobSubmissionClient:
    """Connect to a cluster's dashboard. Raises JobError within seconds when nothing, or something else, is there."""
    url = urlparse(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise JobError(f"{address} is not a dashboard's address", "give it as http://<head>:8265")
    try:
        answer = requests.get(f"{address.rstrip('/')}/api/version", timeout=CONNECT_TIMEOUT_S)
    except requests.RequestException as error:
        raise JobError(
            f"no Ray dashboard answers at {address}",
            "is the cluster up, started with `ray start --head`, and its dashboard's port reachable?",
        ) from error
    if answer.status_code not in (200, 401, 403):
        raise JobError(f"{address} answers, but not as a Ray dashboard: status {answer.status_code}")
    quiet_ray(verbose)
    use_token_if_there_is_one()
    try:
        return JobSubmissionClient(address)
    except (AuthenticationError, RuntimeError, ConnectionError) as error:
        raise _refused(address, error) from error


def submit(client: JobSubmissionClient, arguments: Sequence[str], folder: Path, python: str) -> str:
    """Ship the folder and start `python -m cluster <arguments>` on the cluster; returns the job's id.

    Raises:
        JobError: the arguments cannot work there, or the folder is too large.
        ConfigError: the experiment is wrong; better known now than on the cluster.
    """
    files = files_to_ship(folder)
    check_arguments(arguments, folder, set(files))
    with shipment(folder, files) as archive:
        runtime_env: dict[str, Any] = {
            "working_dir": str(archive),
            "env_vars": {**attach_environment(), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
        }
        if packages := own_packages(folder):
            runtime_env["py_modules"] = packages
        entrypoint = shlex.join([python, "-m", "cluster", *arguments])
        return str(_asked(lambda: _started(lambda: client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env))))


def _started(start: Callable[[], str]) -> str:
    """Start a job, on a cluster that may itself have started a moment ago."""
    deadline = time.monotonic() + AGENT_WAIT_S
    while True:
        try:
            return start()
        except RuntimeError as error:
            if NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def python_for(address: str) -> str:
    """The interpreter to name in the job: ours where the cluster is this machine, else the cluster's own."""
    host = urlparse(address).hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False  # a name, not an address
    return sys.executable if is_here else "python"


def check_arguments(arguments: Sequence[str], folder: Path, files: set[Path]) -> None:
    """Refuse what is sure to fail on the cluster: a wrong config, or paths that exist only here."""
    if not arguments:
        raise JobError("no command given", "manta submit --address http://<head>:8265 -- run configs/adult.yaml")
    if arguments[0] not in (*ON_EXPERIMENTS, *OTHERS):
        near = difflib.get_close_matches(arguments[0], [*ON_EXPERIMENTS, *OTHERS], n=1)
        raise JobError(f"{arguments[0]} is not a command that runs as a job", f"nearest: {near[0]}" if near else "")
    if arguments[0] in OTHERS:
        return
    config, overrides, storage = _parsed(arguments[1:])
    if config is None:
        raise JobError(f"{arguments[0]} needs a config", f"manta submit ... -- {arguments[0]} configs/adult.yaml")
    if arguments[0] == "compress" and Path(config).suffix not in YAML_ENDINGS:
        return  # a run or a package, which lies where the job runs
    experiment = load_experiment(folder / config, overrides)
    if Path(config).is_absolute() or Path(config) not in files:
        raise JobError(f"{config} is not among the files that travel", f"keep it below {folder}, not ignored by git")
    where = storage or experiment.storage
    if "://" not in where and not Path(where).expanduser().is_absolute():
        raise JobError(
            f"the storage {where} is relative: it would be lost with the job's temporary folder",
            "give a folder that all nodes share, by its absolute path: --storage /mnt/runs",
        )
    for key, source in (("data.source", experiment.data.source), ("data.test", experiment.data.test)):
        if source is not None and _is_left_behind(source, files):
            raise JobError(
                f"{key}={source} is relative and does not travel with the job",
                f"give an absolute path or a URI that the cluster can read: --set {key}={(folder / source).resolve()}",
            )


def _parsed(arguments: Sequence[str]) -> tuple[str | None, list[str], str | None]:
    """The config, the overrides and the storage among a command's arguments."""
    config, storage = None, None
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in ("--set", "--storage"):
            value = value if equals else next(rest, "")
            if name == "--set":
                overrides.append(value)
            else:
                storage = value
        elif not argument.startswith("-") and config is None:
            config = argument
    return config, overrides, storage


def _is_left_behind(source: str, files: set[Path]) -> bool:
    if ":" in source or Path(source).expanduser().is_absolute():
        return False
    path = Path(source)
    return not any(file == path or path in file.parents or file.match(source) for file in files)


def follow(client: JobSubmissionClient, job_id: str, write: Callable[[str], object]) -> None:
    """Pass the job's log on as it grows, from its beginning, until the job ends."""
    wait_until_running(client, job_id)

    async def copy() -> None:
        async for part in client.tail_job_logs(job_id):
            write(part)

    asyncio.run(copy())


def wait_until_running(client: JobSubmissionClient, job_id: str) -> None:
    """Wait while the cluster unpacks the files; a job that cannot start ends too."""
    while job_of(client, job_id).status == JobStatus.PENDING:
        asyncio.run(asyncio.sleep(POLL_S))


def wait_until_ended(client: JobSubmissionClient, job_id: str) -> Job:
    """The job once it has ended. Its log may close a moment before its status does."""
    while (job := job_of(client, job_id)).status not in ENDED:
        asyncio.run(asyncio.sleep(POLL_S))
    return job


def exit_code_of(job: Job) -> int:
    """What a command that waited for the job should exit with."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return STOPPED_EXIT_CODE
    return 3 if job.exit_code is None else job.exit_code  # no code: the cluster never started it


def job_of(client: JobSubmissionClient, job_id: str) -> Job:
    """One job. Raises JobError for an id that is not there."""
    return Job.of(_asked(lambda: client.get_job_info(job_id), job_id))


def jobs_of(client: JobSubmissionClient) -> list[Job]:
    """All submitted jobs, newest first."""
    jobs = [Job.of(details) for details in _asked(client.list_jobs) if details.submission_id]
    return sorted(jobs, key=lambda job: job.started or 0.0, reverse=True)


def log_of(client: JobSubmissionClient, job_id: str) -> str:
    """The job's log so far."""
    return str(_asked(lambda: client.get_job_logs(job_id), job_id))


def stop(client: JobSubmissionClient, job_id: str) -> bool:
    """Ask a job to end; False when it had ended."""
    return bool(_asked(lambda: client.stop_job(job_id), job_id))


def _asked(ask: Callable[[], Any], job_id: str = "") -> Any:
    try:
        return ask()
    except (AuthenticationError, RuntimeError, ConnectionError, requests.RequestException) as error:
        if "404" in str(error) or "does not exist" in str(error):
            raise JobError(f"there is no job {job_id} on this cluster", "`manta status` lists the jobs") from error
        raise _refused("the cluster", error) from error


def _refused(address: str, error: Exception) -> UserError:
    text = str(error)
    if isinstance(error, AuthenticationError) or "401" in text or "403" in text:
        return refused(address)
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return JobError(f"{address} refused: {lines[-1] if lines else type(error).__name__}")
