"""Reading a package: nothing is believed before its digest agrees."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from training.package.digest import seal_is_intact, sha256_of
from training.package.errors import PackageError, UserError
from training.package.golden import Golden
from training.package.manifest import (
    FORMAT_VERSION,
    GOLDEN_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
    SIGNATURE_FILE,
    TRANSFORMS_FILE,
    Manifest,
)
from training.package.reference import Reference
from training.package.shapes import StoredModel
from training.package.signature import verify_signature
from training.package.swap import recover
from training.package.transforms import Transforms

Stored = TypeVar("Stored", bound=StoredModel)
Found = TypeVar("Found")

MAX_READS = 5  # of a package that is replaced again and again while it is read
_WRITE_AGAIN = "copy the package again from where it was written, or write it again with `manta run`"


@dataclass(frozen=True)
class Package:
    """A verified package, read into memory except for its variants."""

    folder: Path
    manifest: Manifest
    transforms: Transforms
    golden: Golden
    manifest_sha256: str  # of the manifest's bytes: whether the folder still holds this package


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a package, intact, signed as it must be here, and of a format this version reads.

    Other files are left to `verify`.

    Raises:
        PackageError: not a package, half of one, altered, of a newer format, or not signed by a trusted key.
    """
    return _unreplaced(folder, lambda _, manifest: manifest)


def _unreplaced(folder: Path, read: Callable[[bytes, Manifest], Found]) -> Found:
    """What `read` makes of a manifest and of the files that belong to it.

    A folder may be replaced between two reads, and then files of two packages meet: it is read again, and only what
    is wrong with a package that stayed is an error.
    """
    for _ in range(MAX_READS):
        file = _manifest_file(folder)
        manifest = _manifest(folder, file.raw)
        try:
            verify_signature(folder, file.raw)
            found = read(file.raw, manifest)
        except (UserError, OSError):
            if _manifest_file(folder) == file:
                raise
        else:
            if _manifest_file(folder) == file:
                return found
    raise PackageError(
        f"{folder} was replaced each of the {MAX_READS} times that it was read", "try again when nothing writes it"
    )


def raw_manifest(folder: Path) -> tuple[bytes, Manifest]:
    """The manifest and its bytes, whoever signed them: for who signs. Raises PackageError, see `read_manifest`."""
    raw = _manifest_file(folder).raw
    return raw, _manifest(folder, raw)


def _manifest(folder: Path, raw: bytes) -> Manifest:
    content = _json(raw, path := folder / MANIFEST_FILE)
    _check_version(content, folder)
    if not seal_is_intact(raw):
        raise PackageError(f"{folder} is altered: {MANIFEST_FILE} is not as it was written", _WRITE_AGAIN)
    return _parse(Manifest, content, path)


class _ManifestFile(NamedTuple):
    """Equal only where nothing was written in between, not even another package and then the first one again."""

    raw: bytes
    inode: int
    modified_ns: int


def _manifest_file(folder: Path) -> _ManifestFile:
    """The manifest as it is now. Raises PackageError where there is none.

    Looked for more than once: where a package is replaced in two steps there is none for a moment.
    """
    path = folder / MANIFEST_FILE
    for _ in range(MAX_READS):
        recover(folder)
        try:
            if path.is_file():  # a pipe of that name would be waited for
                with path.open("rb") as file:
                    about = os.fstat(file.fileno())
                    return _ManifestFile(file.read(), about.st_ino, about.st_mtime_ns)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    raise _no_manifest(folder)


def verify(folder: Path, manifest: Manifest) -> None:
    """Raise PackageError naming each file that is altered, missing, or not in the manifest.

    `signature.json` may be there without a digest; `read_manifest` sees to it.
    """
    found = dict(_files(folder))
    expected = set(manifest.sha256)
    problems = [f"{name} is missing" for name in sorted(expected - set(found))]
    problems += [
        f"{name} does not belong to it" for name in sorted(set(found) - expected - {MANIFEST_FILE, SIGNATURE_FILE})
    ]
    problems += [f"{name} is no plain file" for name, is_plain in sorted(found.items()) if not is_plain]
    problems += [
        problem
        for name in sorted(expected & set(found))
        if found[name] and (problem := _difference(folder, name, manifest.sha256[name]))
    ]
    problems += [
        f"{needed} has no digest"
        for needed in (TRANSFORMS_FILE, GOLDEN_FILE, *(variant.file for variant in manifest.variants))
        if needed not in expected
    ]
    if problems:
        raise PackageError(f"{folder} is altered: {'; '.join(problems)}", _WRITE_AGAIN)


def _files(folder: Path) -> Iterator[tuple[str, bool]]:
    """Each path inside that is no folder, and whether it is a plain file.

    A link is none, and is not followed: what it leads to may change after it was looked at.
    """
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        name = Path(entry.path).relative_to(folder).as_posix()
                        yield name.encode(errors="backslashreplace").decode(), entry.is_file(follow_symlinks=False)
        except OSError as error:
            raise PackageError(f"{error.filename} cannot be read: {error.strerror}") from error


def _difference(folder: Path, name: str, digest: str) -> str:
    try:
        return "" if sha256_of(folder / name) == digest else f"{name} is not as it was written"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"


def load_package(folder: Path) -> Package:
    """Read and verify a package. Raises PackageError, see `read_manifest` and `verify`."""
    return load_with(folder, lambda package: package)


def load_with(folder: Path, use: Callable[[Package], Found]) -> Found:
    """What `use` makes of a verified package and of its files, which are all of this one package.

    Args:
        folder: the package.
        use: called again with the new one where the package is replaced before it is done.

    Raises:
        PackageError: see `read_manifest` and `verify`.
    """
    return _unreplaced(folder, lambda raw, manifest: use(_package(folder, raw, manifest)))


def _package(folder: Path, raw: bytes, manifest: Manifest) -> Package:
    verify(folder, manifest)
    package = Package(
        folder=folder,
        manifest=manifest,
        transforms=_read(Transforms, folder / TRANSFORMS_FILE, manifest),
        golden=_read(Golden, folder / GOLDEN_FILE, manifest),
        manifest_sha256=hashlib.sha256(raw).hexdigest(),
    )
    if reason := _contradiction(package):
        raise PackageError(f"{folder} contradicts itself: {reason}", _WRITE_AGAIN)
    return package


def manifest_digest(folder: Path) -> str:
    """SHA-256 of the manifest that is there now, see `Package.manifest_sha256`. Raises PackageError: there is none."""
    raw, _ = raw_manifest(folder)
    return hashlib.sha256(raw).hexdigest()


def _contradiction(package: Package) -> str:
    """Where files that are each as they were written do not belong together; empty where they do."""
    manifest, golden = package.manifest, package.golden
    inputs = {spec.name for spec in manifest.inputs}
    if manifest.chosen not in (names := [variant.name for variant in manifest.variants]):
        return f"{MANIFEST_FILE} chooses {manifest.chosen}, and there is {', '.join(names)}"
    if strange := sorted(_taken(package.transforms) - inputs):
        return f"{TRANSFORMS_FILE} takes {', '.join(strange)}, and {MANIFEST_FILE} has no such input"
    if golden.inputs and (lacking := sorted(inputs - set(golden.inputs))):
        return f"{GOLDEN_FILE} has no {', '.join(lacking)}"
    if golden.labels and golden.labels != manifest.labels:
        return f"its labels are {', '.join(manifest.labels)} and those of {GOLDEN_FILE} {', '.join(golden.labels)}"
    return ""


def _taken(transforms: Transforms) -> set[str]:
    """Names of the inputs that these transforms read."""
    several = (transforms.numeric, transforms.categorical, transforms.dates, transforms.texts)
    alone = (transforms.image, transforms.bytes)
    return {column.name for columns in several for column in columns} | {one.name for one in alone if one is not None}


def reference_of(package: Package) -> Reference | None:
    """How the training rows lay; None for a package that was written without it. Raises PackageError if it is odd."""
    if REFERENCE_FILE not in package.manifest.sha256:
        return None
    return _read(Reference, package.folder / REFERENCE_FILE, package.manifest)


def _no_manifest(folder: Path) -> PackageError:
    if not folder.exists():
        return PackageError(f"{folder} is not a package: there is no such folder", "`manta runs` lists the runs")
    if not folder.is_dir():
        return PackageError(f"{folder} is not a package: it is a file, a package is a folder")
    if mark := next((name for name in ("model.json", "MLmodel") if (folder / name).is_file()), ""):
        return PackageError(
            f"{folder} is an export and no package: it has {mark} and no {MANIFEST_FILE}",
            "give the package that it was exported from; `manta runs` lists the runs",
        )
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


def _read(shape: type[Stored], path: Path, manifest: Manifest) -> Stored:
    """A file of the package's own folder. What is parsed is what the manifest has the digest of, and nothing later."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(raw).hexdigest() != manifest.sha256[path.name]:
        raise PackageError(f"{path} is not what it was when the package was verified", "load the package again")
    return _parse(shape, _json(raw, path), path)


def _parse(shape: type[Stored], content: dict[str, Any], path: Path) -> Stored:
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackageError(f"{path} does not fit: {where} {first['msg']}", _WRITE_AGAIN) from error
