"""What a result depends on beside its experiment and data: code, versions, machine, seeds, the command line.

Never the environment's variables, and no passwords of a command line.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from training.config import Experiment
from training.own_code import own_files
from training.package.machine import cpu_facts, describe_machine
from training.package.shapes import StoredModel
from training.redact import shown

FILE = "provenance.json"
PACKAGES = ("training", "serving", "cluster")
LIBRARIES = ("manta", "ray", "torch", "torchmetrics", "optuna", "pyarrow", "onnx", "onnxruntime", "numpy")
ASK_S = 5.0  # for git and nvidia-smi; a network file system may hang
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_NAMED = r"(?:password|passwd|token|secret|api_?key|access_?key)"
_SECRET = re.compile(rf"(?i)({_NAMED}[\w.-]*[=:]\s*)\S+")
_SECRET_NAME = re.compile(rf"(?i)--?[\w.-]*{_NAMED}[\w.-]*$")


class Code(StoredModel):
    """Some source files as one."""

    digest: str  # sha256 over names and contents; empty where there is no file
    num_files: int
    commit: str | None = None  # of the git checkout that they lie in
    is_dirty: bool | None = None  # whether tracked files were changed since; None where that is not known


class Machine(StoredModel):
    """Where it ran."""

    description: str
    os: str
    cpu: str
    cpu_flags: tuple[str, ...]
    num_cores: int  # that this process may use
    num_threads: int  # of torch's operations in this process
    gpus: tuple[str, ...]
    driver: str | None  # of the GPUs
    cuda: str | None  # that torch was built with
    blas: str


class Provenance(StoredModel):
    """What `provenance.json` holds: of the newest execution; the journal's "started" events have all of them."""

    command_line: tuple[str, ...]
    folder: str  # that relative paths start from
    code: Code
    own_code_folder: str
    own_code: Code  # of the modules that the experiment names, and what they import there
    versions: dict[str, str]
    machine: Machine
    seeds: dict[str, int]
    deterministic: bool


def provenance_of(experiment: Experiment, code_path: str = "") -> Provenance:
    """Of this process, about to work on an experiment.

    Args:
        experiment: its seeds and the modules it names.
        code_path: folder that these are imported from; the working directory where it is empty.
    """
    folder = Path(code_path or ".").resolve()
    return Provenance(
        command_line=without_secrets(sys.argv),
        folder=str(Path.cwd()),
        code=_own_packages(),
        own_code_folder=str(folder),
        own_code=_code(own_files(experiment, folder), folder),
        versions=versions(),
        machine=machine(),
        seeds=seeds_of(experiment),
        deterministic=experiment.train.deterministic,
    )


def seeds_of(experiment: Experiment) -> dict[str, int]:
    """Every seed that the experiment sets or defaults to."""
    search = {"search.seed": experiment.search.seed} if experiment.search else {}
    return {"train.seed": experiment.train.seed, "data.split.seed": experiment.data.split.seed, **search}


def versions() -> dict[str, str]:
    """Of Python and of every library that we ask for and that is installed."""
    found = {"python": platform.python_version()}
    for library in _libraries():
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            if library in LIBRARIES:  # only ourselves, when run from a checkout that is not installed
                found[library] = "not installed"
    return found


def _libraries() -> Iterable[str]:
    try:
        lines = requires("manta") or []
    except PackageNotFoundError:
        lines = []
    names = [match.group() for line in lines if "extra ==" not in line and (match := _NAME.match(line))]
    return dict.fromkeys([*LIBRARIES, *names])


def machine() -> Machine:
    """The machine of this process. It does not start CUDA, which would take memory from the workers."""
    facts = cpu_facts()
    gpus, driver = _gpus()
    return Machine(
        description=describe_machine(),
        os=platform.platform(),
        cpu=facts.get("model name") or platform.processor() or platform.machine(),
        cpu_flags=tuple(sorted((facts.get("flags") or facts.get("Features") or "").split())),
        num_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        num_threads=torch.get_num_threads(),
        gpus=gpus,
        driver=driver,
        cuda=torch.version.cuda,
        blas=_blas(),
    )


def _blas() -> str:
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    library = re.search(r"(Math Kernel Library Version \S+)", torch.__config__.show())
    return ", ".join(match.group(1) for match in (found, library) if match) or "unknown"


def _gpus() -> tuple[tuple[str, ...], str | None]:
    """Names and driver, from the driver's own files, or else from nvidia-smi."""
    found = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    told = Path("/proc/driver/nvidia/version")
    if found and told.exists():
        models = [re.search(r"Model:\s*(.+)", path.read_text()) for path in found]
        driver = re.search(r"Kernel Module\D*([\d.]+)", told.read_text())
        return tuple(match.group(1).strip() for match in models if match), driver.group(1) if driver else None
    if shutil.which("nvidia-smi") is None:
        return (), None
    lines = _asked(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    pairs = [line.rpartition(",") for line in (lines or "").splitlines() if "," in line]
    return tuple(name.strip() for name, _, _ in pairs), pairs[0][2].strip() if pairs else None


def _own_packages() -> Code:
    """Our installed source. Other packages of ours are found, not imported: training knows none of them."""
    files: dict[str, Path] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            folder = Path(spec.origin).parent
            files |= {f"{package}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    return _code(files, Path(__file__).parents[1])


def _code(files: Mapping[str, Path], folder: Path) -> Code:
    if not files:
        return Code(digest="", num_files=0)
    commit, is_dirty = _git(folder, tuple(files))
    return Code(digest=digest_of(files), num_files=len(files), commit=commit, is_dirty=is_dirty)


def _git(folder: Path, names: tuple[str, ...]) -> tuple[str | None, bool | None]:
    """Commit of the checkout that keeps these files, and whether they differ from it; None where none keeps them."""
    git = ["git", "-C", str(folder)]
    tops = sorted({name.partition("/")[0] for name in names})
    if not _asked([*git, "ls-files", "--", *tops]):  # an installed package may lie inside somebody's checkout
        return None, None
    commit = _asked([*git, "rev-parse", "HEAD"])
    changed = _asked([*git, "status", "--porcelain", "--untracked-files=no", "--", *tops])
    return commit.strip() if commit else None, None if changed is None else bool(changed.strip())


def digest_of(files: Mapping[str, Path]) -> str:
    """One sha256 (64 hex) over names and contents; where the files lie does not count."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{hashlib.sha256(files[name].read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _asked(command: list[str]) -> str | None:
    """What a tool prints; None where it is not there, fails, or takes too long: nothing here is worth a failure."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ASK_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def without_secrets(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line with passwords and keys struck out, also those that follow their option's name."""
    found: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_value = _SECRET_NAME.match(before) is not None
        found.append("***" if is_value else _SECRET.sub(r"\1***", shown(argument)))
    return tuple(found)
