"""Names, versions, aliases and history of packages, as one append-only log of numbered records for each name.

<root>/<name>/records/000001.json    registered, aliased or deployed; written once, never changed
<root>/<name>/packages/<id>/         a copy of a package, named by the record that registered it
"""

import json
import os
import re
import secrets
import tempfile
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field

from serving.errors import RegistryError
from training.package.errors import PackageNotWritten
from training.package.manifest import score_of
from training.package.read import load_package
from training.package.shapes import StoredModel
from training.package.write import copy_package

CHAMPION = "champion"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RECORD = re.compile(r"\d{6,}\.json")


class Release(StoredModel):
    """A package version that a name points to."""

    name: str
    version: int
    package: Path
    created_at: str  # ISO 8601, UTC: when it was registered
    run: str
    metric: str
    score: float | None
    aliases: tuple[str, ...] = ()


class Record(StoredModel):
    """One line of a name's history."""

    event: str  # "registered", "aliased", "deployed"
    at: str  # ISO 8601, UTC
    version: int
    details: dict[str, Any] = Field(default_factory=dict)


class Registry:
    """Safe for several processes at once, on one machine or on shared storage with hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def register(self, name: str, package_folder: Path, run: str) -> Release:
        """Copy a verified package in and give it the next version of the name.

        Raises:
            PackageError: the package is not whole and unaltered, or not signed as it must be here.
            RegistryError: the name cannot be used, or the registry cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise RegistryError(
                f"{name!r} cannot be a name", "lower-case letters, digits, '.', '_' and '-', 63 at most"
            )
        load_package(package_folder)
        package_id = secrets.token_hex(8)
        try:
            # Byte by byte: of a manifest that is written anew the signature would not hold.
            manifest = copy_package(package_folder, self.root / name / "packages" / package_id)
        except PackageNotWritten as error:
            raise RegistryError(f"the registry {self.root} cannot be written: {error.message}", error.hint) from error
        metric, score = score_of(manifest.variant(), manifest.metric) or (manifest.metric, None)
        details = {"package": package_id, "run": run, "metric": metric, "score": score}
        version = self._append(name, "registered", details).version
        return self.resolve(f"{name}@{version}")

    def resolve(self, reference: str) -> Release:
        """The release that `name@3`, `name@alias` or `name` means; a bare name is its champion, or else its newest.

        Raises RegistryError naming what there is.
        """
        name, _, wanted = reference.partition("@")
        releases = self.releases(name)
        if not releases:
            raise self._unknown_name(name)
        if not wanted:
            champions = [release for release in releases if CHAMPION in release.aliases]
            return (champions or releases)[-1]
        for release in releases:
            if wanted == str(release.version) or wanted in release.aliases:
                return release
        aliases = sorted(alias for release in releases for alias in release.aliases)
        versions = ", ".join(str(release.version) for release in releases)
        raise RegistryError(
            f"{name} has no version or alias {wanted!r}",
            f"versions: {versions}; aliases: {', '.join(aliases) or 'none'}",
        )

    def set_alias(self, release: Release, alias: str) -> Release:
        """Point an alias at a release; it leaves the one it pointed at before."""
        if not _ALIAS.fullmatch(alias):
            raise RegistryError(
                f"{alias!r} cannot be an alias", "it starts with a letter, so that no version looks like it"
            )
        self._append(release.name, "aliased", {"alias": alias}, release.version)
        return self.resolve(f"{release.name}@{release.version}")

    def record_deployment(self, release: Release, url: str) -> None:
        """Keep what was deployed, where and when."""
        self._append(release.name, "deployed", {"url": url}, release.version)

    def releases(self, name: str | None = None) -> list[Release]:
        """Releases by name, oldest version first; of all names when none is given."""
        if name is None:
            return [release for each in self.names() for release in self.releases(each)]
        records = self.history(name)
        owners = {record.details["alias"]: record.version for record in records if record.event == "aliased"}
        return [
            Release(
                name=name,
                version=record.version,
                package=self.root / name / "packages" / record.details["package"],
                created_at=record.at,
                run=record.details["run"],
                metric=record.details["metric"],
                score=record.details["score"],
                aliases=tuple(sorted(alias for alias, version in owners.items() if version == record.version)),
            )
            for record in records
            if record.event == "registered"
        ]

    def names(self) -> list[str]:
        """Names that have a release."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if _NAME.fullmatch(path.name) and _numbers(path))

    def history(self, name: str) -> list[Record]:
        """Everything that happened to a name, oldest first. Empty for a name that is not there."""
        if not _NAME.fullmatch(name):
            return []
        folder = self.root / name
        return [_read(_record_path(folder, number)) for number in _numbers(folder)]

    def _append(self, name: str, event: str, details: dict[str, Any], version: int | None = None) -> Record:
        """Write the next record. Of several processes at one number the file system lets one win; the others go on."""
        folder = self.root / name
        while True:
            earlier = self.history(name)
            of_version = version or 1 + sum(record.event == "registered" for record in earlier)
            record = Record(event=event, at=_now(), version=of_version, details=details)
            if _create(_record_path(folder, len(earlier) + 1), record.model_dump_json().encode()):
                return record

    def _unknown_name(self, name: str) -> RegistryError:
        known = self.names()
        if not known:
            return RegistryError(
                f"there is no model {name!r}: the registry {self.root} is empty", "`manta run` fills it"
            )
        near = get_close_matches(name, known, n=1)
        nearest = f" (nearest: {near[0]})" if near else ""
        return RegistryError(f"there is no model {name!r}{nearest}", f"registered: {', '.join(known)}")


def _record_path(folder: Path, number: int) -> Path:
    return folder / "records" / f"{number:06d}.json"


def _numbers(folder: Path) -> range:
    records = folder / "records"
    if not records.is_dir():
        return range(0)
    found = sorted(int(path.stem) for path in records.iterdir() if _RECORD.fullmatch(path.name))
    if found != list(range(1, len(found) + 1)):
        raise RegistryError(f"{records} has gaps: its records were removed by hand", "restore the folder from a backup")
    return range(1, len(found) + 1)


def _read(path: Path) -> Record:
    try:
        return Record.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise RegistryError(f"{path} cannot be read: {error}", "restore the folder from a backup") from error


def _create(path: Path, content: bytes) -> bool:
    """Create a file with its content at once, unless it exists. A link, unlike an open, never shows half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise RegistryError(f"{path} cannot be written: {error.strerror}") from error
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
