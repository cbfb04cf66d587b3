"""Checkpoints in an object store, where nothing can be renamed: a checkpoint exists once its manifest does."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs

from training.checkpoint.area import Found, names_like
from training.checkpoint.manifest import MANIFEST_FILE

_PIECE = 8 << 20


class RemoteArea:
    """See Area for what the methods promise. No name is ever written twice, so an upload that breaks off harms none."""

    is_folder = False

    def __init__(self, store: pafs.FileSystem, root: str, where: str) -> None:
        self._store, self._root, self.where = store, root.rstrip("/"), where

    def files(self) -> dict[str, Found]:
        """Every object below the prefix."""
        now = time.time()
        selector = pafs.FileSelector(self._root, recursive=True, allow_not_found=True)
        return {
            info.path.removeprefix(f"{self._root}/"): Found(info.size or 0, now - (info.mtime_ns or 0) / 1e9)
            for info in self._store.get_file_info(selector)
            if info.is_file
        }

    def read(self, name: str) -> bytes:
        """An object's content."""
        with self._store.open_input_stream(f"{self._root}/{name}") as source:
            return bytes(source.read())

    @contextmanager
    def fetched(self, names: Sequence[str]) -> Iterator[Path]:
        """Copies in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
            for name in names:
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with self._store.open_input_stream(f"{self._root}/{name}") as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, _PIECE)
            yield Path(folder)

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """The object store, and the prefix with its bucket."""
        return self._store, self._root

    @contextmanager
    def staging(self, parent: str, label: str) -> Iterator[Path]:
        """A temporary folder of this machine."""
        with tempfile.TemporaryDirectory(prefix=f"checkpoint-{label}-") as folder:
            yield Path(folder)

    def reserve(self, name: str) -> str:
        """The name, or the next one like it that no object uses, not even half an upload."""
        files = self.files()
        return next(each for each in names_like(name) if not any(path.startswith(f"{each}/") for path in files))

    def deliver(self, staged: Path, name: str) -> None:
        """Upload what this worker wrote."""
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            key = f"{self._root}/{name}/{path.relative_to(staged).as_posix()}"
            with path.open("rb") as source, self._store.open_output_stream(key) as target:
                shutil.copyfileobj(source, target, _PIECE)

    def seal(self, staged: Path, name: str, manifest: bytes | None) -> str:
        """Upload the manifest: one object appears at once or not at all."""
        if manifest is not None:
            with self._store.open_output_stream(f"{self._root}/{name}/{MANIFEST_FILE}") as target:
                target.write(manifest)
        return name

    def remove(self, name: str) -> None:
        """Delete its objects, the manifest first."""
        if f"{name}/{MANIFEST_FILE}" in self.files():
            self._store.delete_file(f"{self._root}/{name}/{MANIFEST_FILE}")
        self._store.delete_dir(f"{self._root}/{name}")

    def sweep(self, *parents: str) -> None:
        """Nothing is staged in the store."""

    def free_mb(self) -> float | None:
        """No bound that we could ask for."""
        return None
