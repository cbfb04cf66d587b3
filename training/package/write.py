"""Writing a package: whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from training.package.digest import sealed_json, sha256_of
from training.package.manifest import GOLDEN_FILE, MANIFEST_FILE, TRANSFORMS_FILE, Manifest


def write_package(folder: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Manifest:
    """Write a package and return its manifest with digests. An older package there stays until this one is whole.

    Args:
        files: content or source file by path inside the package; everything but the manifest.

    Raises:
        ValueError: a path leaves the package, or a file that the manifest needs is not given.
    """
    _check_paths(manifest, files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_writer(folder):
        _remove_leftovers(folder)
        # Hidden and beside the target: a reader never lists it, and the rename stays within one file system.
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        try:
            temporary.chmod(0o755)  # mkdtemp's 0700 would lock out replicas of another account
            written = _fill(temporary, manifest, files)
            _move_into_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # gone already unless something above raised
    return written


def _check_paths(manifest: Manifest, files: Mapping[str, bytes | Path]) -> None:
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or name == MANIFEST_FILE:
            raise ValueError(f"{name!r} cannot be the path of a file inside a package")
    needed = {TRANSFORMS_FILE, GOLDEN_FILE, *(variant.file for variant in manifest.variants)}
    if missing := sorted(needed - set(files)):
        raise ValueError(f"a package needs {', '.join(missing)}")


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """One writer at a time, so whatever temporary folder is found beside the target belongs to a dead one."""
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process dies
        yield


def _prefix(folder: Path) -> str:
    return f".{folder.name}.partial-"


def _remove_leftovers(folder: Path) -> None:
    for path in folder.parent.iterdir():
        if path.name.startswith(_prefix(folder)):
            shutil.rmtree(path)


def _fill(temporary: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Manifest:
    digests: dict[str, str] = {}
    for name, content in files.items():
        target = temporary / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_file(target, content)
        digests[name] = sha256_of(target)
    written = manifest.model_copy(update={"sha256": dict(sorted(digests.items()))})
    for directory in {path.parent for path in temporary.rglob("*")}:
        _sync(directory)
    _write_file(temporary / MANIFEST_FILE, sealed_json(written.model_dump(mode="json")))
    _sync(temporary)
    return written


def _write_file(target: Path, content: bytes | Path) -> None:
    with target.open("wb") as file:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(temporary: Path, folder: Path) -> None:
    replaced = temporary.with_name(temporary.name + "-replaced")  # same prefix: the next writer removes it
    if folder.exists():
        folder.rename(replaced)  # a crash after this line leaves no package, never half of one
    temporary.rename(folder)
    _sync(folder.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
