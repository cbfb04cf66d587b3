"""The one caller of ray.init and ray.shutdown: a local Ray that ends with us, or a cluster that we attach to."""

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

import cluster
import serving
import training
from cluster import reaper
from cluster.errors import ClusterError
from cluster.quiet import quiet_ray
from cluster.signals import exit_on_sigterm, uninterrupted
from cluster.tokens import refused, use_token_if_there_is_one
from serving.config import local_environment

CONNECT_TIMEOUT_S = 5.0
LOCAL = "local"
# Set by Ray where a submitted job runs: the job's runtime environment already holds our packages.
JOB_CONFIG_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@dataclass(frozen=True)
class Session:
    """A Ray to work on."""

    address: str  # "local", or what we attached to
    verbose: bool = False
    _on_close: list[Any] = field(default_factory=list)

    @property
    def is_local(self) -> bool:
        """True when this Ray was started by us and ends with us."""
        return self.address == LOCAL

    def before_close(self, action: Any) -> None:
        """Call `action()` before the Ray goes: to take down what was deployed on a cluster that stays."""
        self._on_close.append(action)


def target_of(address: str | None) -> str:
    """What `connect` would use: the address, else RAY_ADDRESS, else "local"."""
    return address or os.environ.get("RAY_ADDRESS") or LOCAL


@contextlib.contextmanager
def connect(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    attach_environment: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> Iterator[Session]:
    """A Ray for the length of a `with` block.

    Args:
        address: a cluster's "host:port", or "auto" for the one running here; None takes RAY_ADDRESS, else starts Ray.
        num_cpus: CPUs of a local Ray; None takes all of the machine.
        attach_environment: variables for our processes on a cluster that runs already, Serve's above all.
        verbose: let Ray say what it says.

    Raises:
        ClusterError: the cluster cannot be reached, refuses us, or runs another version.
    """
    if ray.is_initialized():
        # Starting another would fail, and closing that one would take the first away.
        raise ClusterError("this process has a Ray already", "end it first: ray.shutdown()")
    target = target_of(address)
    quiet_ray(verbose)
    # Ctrl-C must reach us at once. Tune's handler would first wait for the trials that run.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    attached = _attached(target, dict(attach_environment or {}), verbose)
    with _local(num_cpus, verbose) if target == LOCAL else attached as session:
        yield session


@contextlib.contextmanager
def _local(num_cpus: int | None, verbose: bool) -> Iterator[Session]:
    mark = uuid.uuid4().hex
    # Straight under /tmp: a Unix socket's path may be 107 characters long, and Serve puts its sockets in here.
    folder = Path(tempfile.mkdtemp(prefix="manta-", dir="/tmp"))
    os.environ.update(local_environment(folder))
    os.environ[reaper.MARK] = mark
    watcher = reaper.start(mark, folder)
    session = Session(LOCAL, verbose)
    try:
        _init(verbose, address=LOCAL, num_cpus=num_cpus, include_dashboard=False)
        # What this process starts from here on is not Ray's: the sweep at the end must not take it.
        os.environ.pop(reaper.MARK, None)
        yield session
    finally:
        os.environ.pop(reaper.MARK, None)
        with uninterrupted():
            _close(session)
            reaper.sweep(mark, os.getpgrp(), folder)
            watcher.communicate()  # closes its stdin; it finds nothing left and ends


@contextlib.contextmanager
def _attached(target: str, variables: dict[str, str], verbose: bool) -> Iterator[Session]:
    _refuse_unusable(target)
    use_token_if_there_is_one()
    options: dict[str, Any] = {"address": target}
    if JOB_CONFIG_VARIABLE not in os.environ:
        packages = [str(Path(str(package.__file__)).parent) for package in (cluster, serving, training)]
        options["runtime_env"] = {"env_vars": variables, "py_modules": packages}
    session = Session(target, verbose)
    try:
        _init(verbose, **options)
        yield session
    finally:
        with uninterrupted():
            _close(session)


def _init(verbose: bool, **options: Any) -> None:
    try:
        ray.init(
            logging_level=logging.INFO if verbose else logging.ERROR,
            log_to_driver=verbose,
            **options,
        )
    except AuthenticationError as error:
        raise refused(options["address"]) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        doing = "Ray cannot be started here" if options["address"] == LOCAL else f"cannot use {options['address']}"
        raise ClusterError(
            f"{doing}: {error}", "`manta doctor` looks at the machine; -v shows Ray's own log"
        ) from error
    if threading.current_thread() is threading.main_thread():  # others may set no handler, and get no signals
        signal.signal(signal.SIGTERM, exit_on_sigterm)  # ray.init put its own there


def _close(session: Session) -> None:
    try:
        while session._on_close:
            session._on_close.pop()()
    finally:
        ray.shutdown()


def _refuse_unusable(target: str) -> None:
    """Say in seconds what Ray would find out in minutes."""
    if target.startswith(("http://", "https://")):
        raise ClusterError(
            f"{target} is a dashboard's address", f"send a job: manta submit --address {target} -- run ..."
        )
    if target.startswith("ray://"):
        raise ClusterError(
            f"{target} is a Ray Client address; training needs a driver on the cluster itself",
            "send a job: manta submit --address http://<head>:8265 -- run ...",
        )
    if target == "auto":
        return
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"{target} is not a cluster's address", "give host:port, for example 10.0.0.5:6379, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray answers at {target}: {error.strerror or error}",
            "start one there with `ray start --head`, or leave --address away to use this machine",
        ) from error
