"""Looks at the machine and the cluster, and says what to do about what is short."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from cluster.errors import ClusterError
from training.errors import StorageError
from training.run_folder import check_writable

State = Literal["ok", "warn", "bad"]
GIB = 1024**3
DISTRIBUTION = "manta"
LIBRARIES = ("ray", "torch", "onnxruntime")
PYTHONS = ((3, 11), (3, 13))
LITTLE_MEMORY_GIB, LITTLE_DISK_GIB, LITTLE_SHM_GIB = 4, 5, 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: State
    text: str
    hint: str = ""


def examine(address: str | None, storage: Path, port: int) -> list[Finding]:
    """Everything, quickest first. The cluster is looked at only when an address is given."""
    findings = [_python(), *_libraries(), _cpus(), _memory(), _gpus(), _shared_memory(), _storage(storage), _port(port)]
    if address is not None:
        findings += _cluster(address)
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("python", "bad", version, "use Python 3.11, 3.12 or 3.13")
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _libraries() -> Iterator[Finding]:
    wanted = _requirements()
    for library in LIBRARIES:
        try:
            version = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(library, "bad", "not installed", "make run installs everything")
            continue
        need = wanted.get(library)
        if need is not None and not need.specifier.contains(version.partition("+")[0], prereleases=True):
            yield Finding(library, "bad", f"{version}, needed {need.specifier}", f'pip install "{need}"')
        else:
            yield Finding(library, "ok", version)


def _requirements() -> dict[str, Requirement]:
    """What our own distribution asks for. Empty in a checkout that is not installed, as on a cluster."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    needs = [Requirement(line) for line in lines]
    return {need.name: need for need in needs if need.marker is None}


def _cpus() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        return Finding("cpu", "warn", f"{count} core", "training and serving will take turns")
    return Finding("cpu", "ok", f"{count} cores")


def _memory() -> Finding:
    facts = Path("/proc/meminfo")
    if not facts.exists():
        return Finding("memory", "ok", "not measured on this system")
    lines = dict(line.split(":", 1) for line in facts.read_text().splitlines())
    free_gib = int(lines["MemAvailable"].split()[0]) / 1024**2
    total_gib = int(lines["MemTotal"].split()[0]) / 1024**2
    text = f"{free_gib:.1f} GiB of {total_gib:.1f} GiB available"
    if free_gib < LITTLE_MEMORY_GIB:
        return Finding("memory", "warn", text, "end other programs, or set search.concurrency: 1")
    return Finding("memory", "ok", text)


def _gpus() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("gpu", "ok", "none: models train on the CPU")
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode != 0 or not names:
        return Finding("gpu", "warn", "nvidia-smi lists none", "is the driver loaded?")
    if importlib.metadata.version("torch").endswith("+cpu"):
        return Finding("gpu", "warn", "; ".join(names), "torch is a CPU build: remove .venv and run make run again")
    return Finding("gpu", "ok", "; ".join(names))


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")  # where Ray keeps its objects
    if not folder.exists():
        return Finding("/dev/shm", "ok", "not used on this system")
    free_gib = shutil.disk_usage(folder).free / GIB
    text = f"{free_gib:.1f} GiB free"
    if free_gib < LITTLE_SHM_GIB:
        return Finding("/dev/shm", "warn", text, "Ray falls back to slow disk; in Docker: --shm-size=4g")
    return Finding("/dev/shm", "ok", text)


def _storage(storage: Path) -> Finding:
    is_new = not storage.exists()
    try:
        check_writable(storage)
        free_gib = shutil.disk_usage(storage).free / GIB
    except StorageError as error:
        return Finding("storage", "bad", error.message, error.hint)
    finally:
        if is_new and storage.is_dir() and not any(storage.iterdir()):
            storage.rmdir()  # looking must not leave anything
    text = f"{storage.absolute()} is writable, {free_gib:.0f} GiB free"
    if free_gib < LITTLE_DISK_GIB:
        return Finding("storage", "warn", text, "give a larger folder with --storage")
    return Finding("storage", "ok", text)


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding("port", "warn", f"{port}: {error.strerror}", "take another: --set serve.port=...")
    return Finding("port", "ok", f"{port} is free")


def _cluster(address: str) -> list[Finding]:
    import ray  # noqa: PLC0415  a second that looking at the machine alone need not pay

    from cluster.session import connect  # noqa: PLC0415

    try:
        with connect(address):
            nodes = [node for node in ray.nodes() if node["Alive"]]
            totals = ray.cluster_resources()
    except ClusterError as error:
        return [Finding("cluster", "bad", error.message, error.hint)]
    shape = f"{len(nodes)} node(s), {totals.get('CPU', 0):g} CPUs, {totals.get('GPU', 0):g} GPUs"
    return [Finding("cluster", "ok", f"{address}: {shape}; same Ray and Python versions as here")]
