"""Writing a package: whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from training.package.digest import sealed_json, sha256_of
from training.package.errors import PackageError, PackageNotWritten
from training.package.manifest import GOLDEN_FILE, MANIFEST_FILE, SIGNATURE_FILE, TRANSFORMS_FILE, Manifest
from training.package.read import manifest_digest, raw_manifest, verify
from training.package.signature import Key, private_key_of, signature_bytes, signing_key
from training.package.swap import only_writer, partial_prefix, put_in_place, sync


def write_package(
    folder: Path,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    *,
    digests: Mapping[str, str] | None = None,
    replaces: str | None = None,
) -> Manifest:
    """Write a package and return its manifest with digests. An older package there stays until this one is whole.

    Where MANTA_SIGNING_KEY names a private key it is signed, too.

    Args:
        folder: where the package goes.
        manifest: without digests; they are of the files as they were written.
        files: content or source file by path inside the package; everything but the manifest.
        digests: that the named files must have: a source file may have been altered since it was verified.
        replaces: SHA-256 of the manifest that must be in `folder` still; None: whatever is there is replaced.

    Raises:
        ValueError: a path leaves the package, or a file that the manifest needs is not given.
        PackageError: a file has another digest, or another package is in the folder by now.
        PackageNotWritten: the disk is full, or the folder cannot be written for another reason.
        KeyFileError: the private key cannot be read.
    """
    _check_paths(manifest, files)
    key, wanted = signing_key(), digests or {}

    def fill(temporary: Path) -> Manifest:
        if replaces is not None:  # asked while no other writer can come in between
            _check_unchanged(folder, replaces)
        found = {name: _write_file(temporary / name, content) for name, content in files.items()}
        if altered := sorted(name for name, digest in wanted.items() if found.get(name) != digest):
            raise PackageError(
                f"{folder} cannot be written: {', '.join(altered)} changed since the package was read",
                "copy the package again from where it was written, then do this again",
            )
        written = manifest.model_copy(update={"sha256": dict(sorted(found.items()))})
        raw = sealed_json(written.model_dump(mode="json"))
        if key is not None:
            _write_file(temporary / SIGNATURE_FILE, signature_bytes(raw, key))
        _write_manifest(temporary, raw)
        return written

    return _written(folder, fill)


def copy_package(source: Path, folder: Path) -> Manifest:
    """Copy a package byte by byte, its signature included, and return its manifest.

    Raises:
        PackageError: the source is altered, also while it is copied.
        PackageNotWritten: see `write_package`.
    """
    raw, manifest = raw_manifest(source)
    verify(source, manifest)
    signature = source / SIGNATURE_FILE

    def fill(temporary: Path) -> Manifest:
        for name in manifest.sha256:
            _write_file(temporary / name, source / name)
        if signature.is_file():
            _write_file(temporary / SIGNATURE_FILE, signature)
        _write_manifest(temporary, raw)
        verify(temporary, manifest)
        return manifest

    return _written(folder, fill)


def sign_package(folder: Path, private_key_pem: Path) -> Key:
    """Sign a package, in place of an earlier signature, and return the public key that others may trust.

    Raises:
        PackageError: the package is altered: nobody should vouch for it.
        KeyFileError: the key cannot be read.
        PackageNotWritten: the package's folder cannot be written.
    """
    key, folder = private_key_of(private_key_pem), folder.resolve()
    with _said(folder), only_writer(folder):
        raw, manifest = raw_manifest(folder)
        verify(folder, manifest)
        # Beside the package and not in it: for that moment a reader would find a file that does not belong to it.
        descriptor, name = tempfile.mkstemp(prefix=partial_prefix(folder), dir=folder.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            _write_file(temporary, signature_bytes(raw, key))
            temporary.chmod(0o644)
            temporary.replace(folder / SIGNATURE_FILE)
        finally:
            temporary.unlink(missing_ok=True)
        sync(folder)
    return Key.of(key.public_key())


def _check_unchanged(folder: Path, digest: str) -> None:
    if manifest_digest(folder) != digest:
        raise PackageError(
            f"{folder} changed while it was compressed: another package is there now",
            "run it again: forms that are there by now are kept",
        )


def _check_paths(manifest: Manifest, files: Mapping[str, bytes | Path]) -> None:
    for name in files:
        path = PurePosixPath(name)
        is_ours = name in (MANIFEST_FILE, SIGNATURE_FILE)
        if path.is_absolute() or ".." in path.parts or str(path) != name or is_ours:
            raise ValueError(f"{name!r} cannot be the path of a file inside a package")
    needed = {TRANSFORMS_FILE, GOLDEN_FILE, *(variant.file for variant in manifest.variants)}
    if missing := sorted(needed - set(files)):
        raise ValueError(f"a package needs {', '.join(missing)}")


def _written(folder: Path, fill: Callable[[Path], Manifest]) -> Manifest:
    folder = folder.resolve()  # of a link the folder that it leads to is written, and the link stays
    with _said(folder):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file of that name is there")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(folder):
            _remove_leftovers(folder)
            temporary = Path(tempfile.mkdtemp(prefix=partial_prefix(folder), dir=folder.parent))
            try:
                temporary.chmod(0o755)  # mkdtemp's 0700 would lock out replicas of another account
                written = fill(temporary)
                put_in_place(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)  # gone already unless something above raised
    return written


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """What the system refuses, in words for people."""
    try:
        yield
    except OSError as error:
        raise PackageNotWritten.of(folder, error) from error


def _remove_leftovers(folder: Path) -> None:
    for path in folder.parent.iterdir():
        if path.name.startswith(partial_prefix(folder)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_manifest(temporary: Path, raw: bytes) -> None:
    """Last of all, and after the others are on the disk: a folder without it is no package."""
    for directory in {path.parent for path in temporary.rglob("*")}:
        sync(directory)
    _write_file(temporary / MANIFEST_FILE, raw)
    sync(temporary)


def _write_file(target: Path, content: bytes | Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return sha256_of(target)
