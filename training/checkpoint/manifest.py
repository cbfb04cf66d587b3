"""What says that a checkpoint is whole: `manifest.json`, the last file written into its folder."""

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from training.package.digest import seal_is_intact, sealed_json
from training.package.shapes import StoredModel
from training.session import Place

MANIFEST_FILE = "manifest.json"
BEST_FOLDER = "best"
FORMAT = 1  # raise it when an older reader would be wrong

_PART = r"[A-Za-z0-9_][\w.-]*|\.metadata"
_INSIDE = re.compile(rf"(?:\.\./{BEST_FOLDER}/)?(?:{_PART})(?:/(?:{_PART}))*")


class FileEntry(StoredModel):
    """One file of a checkpoint."""

    path: str  # from the checkpoint's folder; the best weights lie in a folder beside it, `../best/...`
    num_bytes: int = Field(ge=0)
    sha256: str


class Manifest(StoredModel):
    """A checkpoint's files and place. It carries its own digest, so that not a bit of it can change unseen."""

    format: int
    kind: Literal["whole", "sharded"]
    sequence: int  # grows with every checkpoint written; after a rollback the newest is not that of the highest step
    epoch: int
    samples: int
    step: int
    written_at: str  # ISO 8601, UTC
    best_epoch: int | None = None
    score: float | None = None  # of the best epoch so far
    files: tuple[FileEntry, ...]  # of this checkpoint alone
    best: tuple[FileEntry, ...] = ()  # shared with other checkpoints of the same best epoch

    @property
    def place(self) -> Place:
        """Where the training stood."""
        return Place(self.epoch, self.samples, self.step)

    @property
    def all_files(self) -> tuple[FileEntry, ...]:
        """Everything that must be there for it to be read."""
        return self.files + self.best

    @property
    def best_name(self) -> str | None:
        """The folder below `best/` that it refers to."""
        return self.best[0].path.split("/")[2] if self.best else None


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is there whole, by its manifest."""

    path: str  # as a person would find it: a folder, or bucket and key
    name: str  # of its folder
    manifest: Manifest = field(repr=False)
    is_best: bool = False  # the oldest kept since the best epoch

    @property
    def place(self) -> Place:
        """Where the training stood."""
        return self.manifest.place

    @property
    def step(self) -> int:
        """Optimizer steps made."""
        return self.manifest.step

    @property
    def num_bytes(self) -> int:
        """Size without the best weights, which several checkpoints share."""
        return sum(file.num_bytes for file in self.manifest.files)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The file's content."""
    return sealed_json(manifest.model_dump(mode="json"))


def parse_manifest(raw: bytes) -> Manifest | None:
    """The manifest; None where it is not whole, not ours, of a later format, or points out of its storage."""
    if not seal_is_intact(raw):
        return None
    try:
        manifest = Manifest.model_validate(json.loads(raw))
    except ValueError:
        return None
    is_inside = all(_INSIDE.fullmatch(file.path) for file in manifest.all_files)
    return manifest if is_inside and manifest.files and manifest.format <= FORMAT else None


def finite(score: float | None) -> float | None:
    """JSON has no NaN, which is the score before the first epoch is done."""
    return score if score is not None and math.isfinite(score) else None


def now() -> str:
    """The time as manifests carry it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
