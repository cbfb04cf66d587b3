"""Reading a package: nothing is believed before its digest agrees."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from training.package.digest import seal_is_intact, sha256_of
from training.package.errors import PackageError
from training.package.golden import Golden
from training.package.manifest import (
    FORMAT_VERSION,
    GOLDEN_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
    TRANSFORMS_FILE,
    Manifest,
)
from training.package.reference import Reference
from training.package.shapes import StoredModel
from training.package.transforms import Transforms

Stored = TypeVar("Stored", bound=StoredModel)

_WRITE_AGAIN = "copy the package again from where it was written, or write it again with `manta run`"


@dataclass(frozen=True)
class Package:
    """A verified package, read into memory except for its variants."""

    folder: Path
    manifest: Manifest
    transforms: Transforms
    golden: Golden


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a package, intact and of a format this version reads. Other files are left to `verify`.

    Raises:
        PackageError: not a package, half of one, altered, or of a newer format.
    """
    path = folder / MANIFEST_FILE
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _no_manifest(folder) from None
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    content = _json(raw, path)
    _check_version(content, folder)
    if not seal_is_intact(raw):
        raise PackageError(f"{folder} is altered: {MANIFEST_FILE} is not as it was written", _WRITE_AGAIN)
    return _parse(Manifest, content, path)


def verify(folder: Path, manifest: Manifest) -> None:
    """Raise PackageError naming each file that is altered, missing, or not in the manifest."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST_FILE}
    expected = set(manifest.sha256)
    problems = [f"{name} is missing" for name in sorted(expected - found)]
    problems += [f"{name} does not belong to it" for name in sorted(found - expected)]
    for name in sorted(expected & found):
        if sha256_of(folder / name) != manifest.sha256[name]:
            problems.append(f"{name} is not as it was written")
    problems += [
        f"{needed} has no digest"
        for needed in (TRANSFORMS_FILE, GOLDEN_FILE, *(variant.file for variant in manifest.variants))
        if needed not in expected
    ]
    if problems:
        raise PackageError(f"{folder} is altered: {'; '.join(problems)}", _WRITE_AGAIN)


def load_package(folder: Path) -> Package:
    """Read and verify a package. Raises PackageError, see `read_manifest` and `verify`."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    return Package(
        folder=folder,
        manifest=manifest,
        transforms=_read(Transforms, folder / TRANSFORMS_FILE),
        golden=_read(Golden, folder / GOLDEN_FILE),
    )


def reference_of(package: Package) -> Reference | None:
    """How the training rows lay; None for a package that was written without it. Raises PackageError if it is odd."""
    if REFERENCE_FILE not in package.manifest.sha256:
        return None
    return _read(Reference, package.folder / REFERENCE_FILE)


def _no_manifest(folder: Path) -> PackageError:
    if not folder.exists():
        return PackageError(f"{folder} is not a package: there is no such folder", "`manta runs` lists the runs")
    if not folder.is_dir():
        return PackageError(f"{folder} is not a package: it is a file, a package is a folder")
    if (folder / TRANSFORMS_FILE).exists() or (folder / "variants").exists():
        return PackageError(f"{folder} is half a package: {MANIFEST_FILE} is missing", _WRITE_AGAIN)
    return PackageError(f"{folder} is not a package: it has no {MANIFEST_FILE}", "`manta runs` lists the runs")


def _json(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path} is not JSON: {error}", _WRITE_AGAIN) from error
    if not isinstance(content, dict):
        raise PackageError(f"{path} holds a {type(content).__name__}, expected a JSON object", _WRITE_AGAIN)
    return content


def _check_version(content: dict[str, Any], folder: Path) -> None:
    version = content.get("format_version")
    if not isinstance(version, int):
        raise PackageError(f"{folder} is altered: {MANIFEST_FILE} has no format_version", _WRITE_AGAIN)
    if version > FORMAT_VERSION:
        raise PackageError(
            f"{folder} has format_version {version}, this version of manta reads up to {FORMAT_VERSION}",
            "upgrade manta, or write the package again with this version",
        )


def _read(shape: type[Stored], path: Path) -> Stored:
    return _parse(shape, _json(path.read_bytes(), path), path)


def _parse(shape: type[Stored], content: dict[str, Any], path: Path) -> Stored:
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackageError(f"{path} does not fit: {where} {first['msg']}", _WRITE_AGAIN) from error
