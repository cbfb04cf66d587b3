"""What travels to a cluster with a job: the working directory, small, and our own packages."""

import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import JobError

# Never needed by a job. Whatever git ignores stays behind as well.
LEFT_BEHIND = frozenset(
    {
        ".git", ".venv", "venv", ".ci", ".github", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache",
        ".hypothesis", ".import_linter_cache", ".ipynb_checkpoints", ".idea", ".vscode", "node_modules", "build",
        "dist",         "data", "runs", "tests", "benchmarks", "docs",
    }
)  # fmt: skip
OUR_PACKAGES = ("training", "serving", "cluster")
MAX_MB = 50.0
MB = 1024 * 1024
SHOWN = 5  # of the largest files, in the error


def files_to_ship(folder: Path) -> list[Path]:
    """Files of the folder that travel, relative to it. What git ignores stays, and what `LEFT_BEHIND` names."""
    listed = _listed_by_git(folder)
    found = sorted(_walk(folder)) if listed is None else sorted(path for path in listed if (folder / path).is_file())
    return [path for path in found if not _stays(path)]


def _stays(path: Path) -> bool:
    # Inside our own packages `data` is code: training/data.
    return path.suffix in (".pyc", ".egg-info") or (
        not LEFT_BEHIND.isdisjoint(path.parts) if path.parts[0] not in OUR_PACKAGES else "__pycache__" in path.parts
    )


def _listed_by_git(folder: Path) -> list[Path] | None:
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    answer = subprocess.run(command, capture_output=True, check=False)
    if answer.returncode != 0:
        return None  # no repository
    return [Path(os.fsdecode(name)) for name in answer.stdout.split(b"\0") if name]


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        inside = Path(here).relative_to(folder)
        folders[:] = [name for name in folders if not _stays(inside / name)]
        yield from (inside / name for name in files)


@contextmanager
def shipment(folder: Path, files: list[Path]) -> Iterator[Path]:
    """A zip file of the files. Raises JobError, listing the largest, when they are more than `MAX_MB`."""
    sizes = {path: (folder / path).stat().st_size for path in files}
    total_mb = sum(sizes.values()) / MB
    if total_mb > MAX_MB:
        largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:SHOWN]
        listed = "\n  ".join(f"{sizes[path] / MB:8.1f} MB  {path}" for path in largest)
        raise JobError(
            f"{folder} has {total_mb:.0f} MB to ship, {MAX_MB:.0f} MB at most; the largest:\n  {listed}",
            "name them in .gitignore, or submit from a folder with only the code",
        )
    with tempfile.TemporaryDirectory(prefix="manta-") as scratch:
        archive = Path(scratch) / "working_dir.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in files:
                # One date for all: Ray names an upload by its content, and unchanged content travels once.
                info = zipfile.ZipInfo(path.as_posix(), date_time=(2020, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = ((folder / path).stat().st_mode & 0o777) << 16
                file.writestr(info, (folder / path).read_bytes())
        yield archive


def own_packages(folder: Path) -> list[str]:
    """Our packages' folders, unless the folder is a checkout that holds them already."""
    root = Path(__file__).resolve().parent.parent
    if all((folder / name / "__init__.py").exists() for name in OUR_PACKAGES):
        return []
    return [str(root / name) for name in OUR_PACKAGES]
