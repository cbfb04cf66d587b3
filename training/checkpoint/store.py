"""Checkpoints of one training in a folder or an object store: each there whole, or not there.

<uri>/<step, 8 digits>/checkpoint.pt     all but the best weights; where workers share tensors out, marks for those
<uri>/<step, 8 digits>/shards/           torch's distributed checkpoint of what workers share out
<uri>/<step, 8 digits>/manifest.json     written last, with size and digest of every file, and of itself
<uri>/best/<epoch>-<digest>/             the best weights, which several checkpoints refer to
A second checkpoint of the same step goes to <step>.1: what stands is never written over.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from training.checkpoint.area import Area, Found
from training.checkpoint.manifest import (
    BEST_FOLDER,
    FORMAT,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    Saved,
    finite,
    manifest_bytes,
    now,
    parse_manifest,
)
from training.checkpoint.open_area import open_area
from training.checkpoint.payload import map_tensors
from training.checkpoint.reading import patiently, problems, read, read_intact
from training.checkpoint.retention import Retention, retained
from training.checkpoint.sharded import has_shards
from training.checkpoint.team import Team
from training.checkpoint.writing import write_content, write_step
from training.errors import StorageError
from training.session import Checkpoint, Place

ABANDONED_S = 3600.0  # nobody is behind an upload any more that did not end for so long
_STEP = re.compile(r"\d{8,}(?:\.\d+)?")


@dataclass(frozen=True)
class _Best:
    """The best weights that were written last, known again by their very tensors."""

    epoch: int
    tensors: tuple[tuple[Tensor, int], ...]  # with their versions, which count changes in place
    files: tuple[FileEntry, ...]


class CheckpointStore:
    """One writer at a time, any number of readers. Nothing is unpickled but tensors and plain values."""

    def __init__(self, uri: str) -> None:
        """Nothing is made or asked yet.

        Args:
            uri: absolute path, file:///..., s3://bucket/prefix?endpoint_override=..., gs://bucket/prefix

        Raises:
            StorageError: none of these.
        """
        self._area: Area = open_area(uri)
        self.where = self._area.where
        self.skipped: list[str] = []  # what `newest_intact` passed over, and why
        self._best: _Best | None = None
        self._sequence = 0

    def newest_intact(
        self, map_location: str | torch.device = "cpu", group: dist.ProcessGroup | None = None
    ) -> tuple[Saved, Checkpoint] | None:
        """The checkpoint written last that is whole to the last bit, and its content; None where there is none.

        Those passed over are named in `skipped`. With a process group (gloo) every worker calls it, they share the
        work of looking, and all get the same one.

        Raises:
            StorageError: the storage cannot be read, so nobody knows what is there.
        """
        team = Team(group)
        self.skipped = []
        unreachable = ""
        try:
            candidates = team.first(lambda: patiently(self.list))
        except OSError as error:
            raise self._unreadable(str(error)) from error
        for saved in reversed(candidates):
            try:
                found = read_intact(self._area, saved, map_location, team)
            except OSError as error:
                found = unreachable = f"cannot be read: {error}"
            if not isinstance(found, str):
                return saved, found
            self.skipped.append(f"{saved.path} {found}")
        if unreachable:
            raise self._unreadable(unreachable)
        return None

    def read(self, saved: Saved, map_location: str | torch.device = "cpu") -> Checkpoint:
        """The checkpoint as it was given to `write`; shared-out tensors come as full ones in host memory.

        Raises OSError.
        """
        return read(self._area, saved, map_location, {})

    def load_into(self, saved: Saved, state: Checkpoint) -> Checkpoint:
        """The checkpoint, with the DTensors of `state` filled and in their places; others are read as `read` does.

        The number of workers need not be the one it was written with, and no worker waits for another.
        Raises OSError.
        """
        return read(self._area, saved, "cpu", state)

    def problems(self, saved: Saved) -> list[str]:
        """What is wrong with its files, compared with the manifest bit by bit. Raises OSError."""
        return problems(self._area, saved)

    def write(self, checkpoint: Checkpoint, place: Place, group: dist.ProcessGroup | None = None) -> Saved:
        """Write one. It exists once this returns, and a loss of power does not undo it.

        A checkpoint with DTensors is written by all workers of the group (gloo) together. Raises OSError on all.
        """
        rest, best = _without_best(checkpoint)
        is_sharded = has_shards(checkpoint)
        assert group is not None or not is_sharded, "sharing out needs a process group"
        team = Team(group if is_sharded else None)
        team.first(lambda: self._area.sweep("", BEST_FOLDER))
        best_files = self._write_best(best, team) if best["model"] else ()
        plan = Manifest(
            format=FORMAT, kind="sharded" if is_sharded else "whole", sequence=team.first(self._next_sequence),
            epoch=place.epoch, samples=place.samples, step=place.step, written_at=now(), files=(), best=best_files,
            best_epoch=best.get("epoch"), score=finite(best.get("score")),
        )  # fmt: skip

        def manifest_of(files: tuple[FileEntry, ...]) -> bytes:
            return manifest_bytes(plan.model_copy(update={"files": files}))

        name, files = write_step(self._area, team, rest, f"{place.step:08d}", manifest_of)
        self._sequence = plan.sequence
        return Saved(f"{self.where}/{name}", name, plan.model_copy(update={"files": files}))

    def tidy(self, keep: int, keep_mb: float | None) -> Retention:
        """Delete what retention does not keep, and what dead writers left. Raises OSError."""
        files = self._area.files()
        saved = self._listed(files)
        retention = retained(saved, keep, keep_mb)
        for each in retention.delete:
            self._area.remove(each.name)
        for name in {path.partition("/")[0] for path in files} - {each.name for each in saved}:
            # In an object store a folder without a manifest may be an upload under way; a local one never is.
            if _STEP.fullmatch(name) and (self._area.is_folder or _age_s(files, name) > ABANDONED_S):
                self._area.remove(name)
        used = {each.manifest.best_name for each in saved if each not in retention.delete}
        if self._best is not None:
            used.add(_name_of(self._best.files))  # the next checkpoint may refer to it
        for name in {path.split("/")[1] for path in files if path.startswith(f"{BEST_FOLDER}/")} - used:
            self._area.remove(f"{BEST_FOLDER}/{name}")
        return retention

    def free_mb(self) -> float | None:
        """Free space in megabytes (10^6 bytes); None in an object store, and where it cannot be told."""
        try:
            return self._area.free_mb()
        except OSError:
            return None

    def _write_best(self, best: dict[str, Any], team: Team) -> tuple[FileEntry, ...]:
        epoch, tensors, known = int(best.get("epoch") or 0), _with_versions(best["model"]), self._best
        is_known = known is not None and known.epoch == epoch and _same(known.tensors, tensors)
        if known is not None and all(team.together(lambda: is_known)):
            # Somebody may have cleared the folder, and a checkpoint that refers to nothing is worthless.
            names = {file.path.removeprefix("../") for file in known.files}
            if team.first(lambda: names <= self._area.files().keys()):
                return known.files
        name, files = write_content(
            self._area, team, best["model"], BEST_FOLDER, lambda files: f"{epoch:08d}-{_digest(files)}"
        )
        entries = tuple(file.model_copy(update={"path": f"../{name}/{file.path}"}) for file in files)
        self._best = _Best(epoch, tensors, entries)
        return entries

    def _next_sequence(self) -> int:
        # Looked up once: there is one writer at a time.
        return 1 + (self._sequence or max((each.manifest.sequence for each in self.list()), default=0))

    def _listed(self, files: dict[str, Found]) -> "list[Saved]":
        names = {path.partition("/")[0] for path in files if path.endswith(f"/{MANIFEST_FILE}")}
        found = [
            Saved(f"{self.where}/{name}", name, manifest)
            for name in names
            if _STEP.fullmatch(name) and (manifest := self._manifest(name)) is not None
        ]
        found.sort(key=lambda saved: (saved.manifest.sequence, saved.step, saved.name))
        epoch = found[-1].manifest.best_epoch if found else None
        best = next((each for each in found if epoch and each.manifest.best_epoch == epoch), None)
        return [replace(each, is_best=each is best) for each in found]

    def _manifest(self, name: str) -> Manifest | None:
        try:
            return parse_manifest(self._area.read(f"{name}/{MANIFEST_FILE}"))
        except FileNotFoundError:
            return None  # removed since it was listed

    def _unreadable(self, reason: str) -> StorageError:
        return StorageError(
            f"the checkpoints in {self.where} cannot be read: {reason}",
            "restore the access to them; to start anew, take another name for the run",
        )

    def list(self) -> "list[Saved]":
        """The checkpoints that are there, the one written last at the end. Raises OSError."""
        return self._listed(self._area.files())


def _without_best(checkpoint: Checkpoint) -> tuple[Checkpoint, dict[str, Any]]:
    best = dict(checkpoint.get("best") or {})
    model = best.get("model") or {}
    rest = {**checkpoint, "best": {**best, "model": {}}} if model else checkpoint
    return rest, {**best, "model": model}


def _with_versions(tree: Any) -> tuple[tuple[Tensor, int], ...]:
    found: list[tuple[Tensor, int]] = []
    map_tensors(tree, lambda _, tensor: found.append((tensor, 0 if tensor.is_inference() else tensor._version)))
    return tuple(found)


def _same(known: Sequence[tuple[Tensor, int]], tensors: Sequence[tuple[Tensor, int]]) -> bool:
    return len(known) == len(tensors) and all(
        old is new and before == now for (old, before), (new, now) in zip(known, tensors, strict=True)
    )


def _digest(files: Iterable[FileEntry]) -> str:
    return sha256(" ".join(file.sha256 for file in files).encode()).hexdigest()[:16]


def _name_of(best: Sequence[FileEntry]) -> str:
    return best[0].path.split("/")[2]


def _age_s(files: dict[str, Found], name: str) -> float:
    return min(found.age_s for path, found in files.items() if path.startswith(f"{name}/"))
