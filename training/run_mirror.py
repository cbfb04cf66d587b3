"""A run in an object store: worked on in a folder of this machine, which is kept equal to it.

The store is the truth where the two differ; only a folder that went on from what the store has (its journal begins
with the store's) is ahead of it, after a driver that died before its last upload. Checkpoints are not mirrored:
workers write them to the store themselves.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from training.errors import StorageError

CHECKPOINTS = "checkpoints"
JOURNAL = "journal.jsonl"
LEASE = "lease.json"
PUSH_EVERY_S = 2.0
RENEW_EVERY_S = 5.0
LEASE_S = 20.0  # a holder that did not renew for so long is dead
GIVE_UP_AFTER_S = 600.0
_PIECE = 8 << 20


def is_uri(storage: str) -> bool:
    """Whether a storage is an object store, and no folder."""
    return "://" in storage and not storage.startswith("file://")


def joined(uri: str, *names: str) -> str:
    """A place below a URI; its options stay at the end."""
    place, mark, options = uri.partition("?")
    return "/".join([place.rstrip("/"), *names]) + mark + options


def mirror_root(uri: str) -> Path:
    """The folder of this machine in which what lies in a store is worked on."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "manta" / "storage" / hashlib.sha256(uri.encode()).hexdigest()[:16]


class Mirror:
    """One run's folder and its place in a store."""

    def __init__(self, uri: str, folder: Path) -> None:
        """Raises StorageError where the URI names no store. Nothing is asked yet."""
        self.where = uri.partition("?")[0].rpartition("@")[2]  # neither options nor keys belong into a message
        try:
            self._store, self._root = pafs.FileSystem.from_uri(uri)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise StorageError(
                f"the storage {self.where} cannot be used: {str(error).splitlines()[0].replace(uri, self.where)}",
                "examples: /mnt/runs, s3://bucket/folder, gs://bucket/folder",
            ) from error
        self._folder = folder
        self._pushed: dict[str, tuple[int, int]] = {}
        self._me = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._ends = threading.Event()

    @contextlib.contextmanager
    def held(self, told: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """The run is ours: fetched now, brought to the store while we work and at the end.

        Raises:
            StorageError: another process works on it, or the store cannot be reached; at the end after ten minutes.
        """
        with reachable(self.where):
            self._take_lease()
            self.pull()
        thread = threading.Thread(target=self._keep, args=(told,), name="manta-run-mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()
            self._push_at_last()

    def pull(self) -> None:
        """Fetch the run's files, but for checkpoints, unless the folder has gone on from them. Raises OSError."""
        there = self._there()
        if not there or self._is_ahead(there):
            return
        kept = {path.name for path in self._folder.iterdir()} if self._folder.exists() else set()
        for name in kept - {".lock"}:
            path = self._folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in there:
            self._fetch(name)
            self._pushed[name] = _version(self._folder / name)

    def push(self) -> int:
        """Bring changed files to the store, the journal last; gives how many. Raises OSError."""
        here = self._here()
        changed = sorted(
            (name for name in here if self._pushed.get(name) != here[name]), key=lambda name: name == JOURNAL
        )
        for name in changed:
            with contextlib.suppress(FileNotFoundError):  # gone again meanwhile
                self._upload(name)
                self._pushed[name] = here[name]
        for name in [name for name in self._pushed if name not in here]:
            self._store.delete_file(f"{self._root}/{name}")
            del self._pushed[name]
        return len(changed)

    def names(self) -> list[str]:
        """Folders in it. Raises OSError."""
        there = self._store.get_file_info(pafs.FileSelector(self._root, recursive=False, allow_not_found=True))
        return [info.base_name for info in there if info.type == pafs.FileType.Directory]

    def _there(self) -> list[str]:
        """Names of the run's files in the store."""
        names: list[str] = []
        for info in self._store.get_file_info(pafs.FileSelector(self._root, recursive=False, allow_not_found=True)):
            name = info.base_name
            if info.is_file and name != LEASE:
                names.append(name)
            elif info.type == pafs.FileType.Directory and name != CHECKPOINTS:
                inside = self._store.get_file_info(pafs.FileSelector(info.path, recursive=True))
                names += [file.path.removeprefix(f"{self._root}/") for file in inside if file.is_file]
        return names

    def _here(self) -> dict[str, tuple[int, int]]:
        """Files of the folder that belong to the run, with what tells a changed one."""
        found: dict[str, tuple[int, int]] = {}
        for folder, inner, files in os.walk(self._folder):
            if Path(folder) == self._folder and CHECKPOINTS in inner:
                inner.remove(CHECKPOINTS)
            for file in files:
                path = Path(folder, file)
                if not file.startswith("."):  # locks, and files that are not whole yet
                    with contextlib.suppress(FileNotFoundError):
                        found[path.relative_to(self._folder).as_posix()] = _version(path)
        return found

    def _is_ahead(self, there: list[str]) -> bool:
        journal = self._folder / JOURNAL
        if not journal.exists() or JOURNAL not in there:
            return False
        with self._store.open_input_stream(f"{self._root}/{JOURNAL}") as source:
            return journal.read_bytes().startswith(source.read())

    def _fetch(self, name: str) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._store.open_input_stream(f"{self._root}/{name}") as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _PIECE)

    def _upload(self, name: str) -> None:
        with (self._folder / name).open("rb") as source, self._store.open_output_stream(f"{self._root}/{name}") as sink:
            shutil.copyfileobj(source, sink, _PIECE)

    def _keep(self, told: Callable[[str], None]) -> None:
        """Push and renew until the end. A store that cannot be reached is waited for."""
        renewed_at, pause_s, trouble = time.monotonic(), PUSH_EVERY_S, False
        while not self._ends.wait(pause_s):
            try:
                self.push()
                if time.monotonic() - renewed_at >= RENEW_EVERY_S:
                    self._renew()
                    renewed_at = time.monotonic()
                if trouble:
                    told(f"{self.where} can be reached again")
                pause_s, trouble = PUSH_EVERY_S, False
            except OSError as error:
                if not trouble:
                    told(f"{self.where} cannot be reached: {_line(error)}; the run goes on in {self._folder}")
                pause_s, trouble = min(2 * pause_s, 60.0), True

    def _push_at_last(self) -> None:
        deadline, pause_s = time.monotonic() + GIVE_UP_AFTER_S, 1.0
        while True:
            try:
                self.push()
                self._store.delete_file(f"{self._root}/{LEASE}")
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"the run could not be brought to {self.where}: {_line(error)}",
                        f"it is whole in {self._folder}; the same command on this machine brings it there",
                    ) from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 30.0)

    def _take_lease(self) -> None:
        """One driver at a time. A holder that is alive renews its lease; a dead one's is taken after a while."""
        path = f"{self._root}/{LEASE}"
        first = self._read(path)
        waited_s = 0.0
        while first is not None and waited_s < LEASE_S:
            time.sleep(1.0)
            waited_s += 1.0
            now = self._read(path)
            if now is None:
                break
            if now != first:
                holder = json.loads(now).get("holder", "?").rpartition(":")[0]
                raise StorageError(
                    f"another process ({holder}) is working on the run in {self.where}",
                    "wait for it, or give this one a name of its own: --set name=...",
                )
        self._renew()

    def _renew(self) -> None:
        with self._store.open_output_stream(f"{self._root}/{LEASE}") as sink:
            sink.write(json.dumps({"holder": self._me, "renewed_at": time.time()}).encode())

    def _read(self, path: str) -> bytes | None:
        if self._store.get_file_info(path).type == pafs.FileType.NotFound:
            return None
        with self._store.open_input_stream(path) as source:
            return bytes(source.read())


def fetched(storage: str) -> Path:
    """The folder of a storage; of an object store this machine's mirror, after a look at every run in it.

    Raises StorageError where the store cannot be used.
    """
    if not is_uri(storage):
        return Path(storage)
    root, whole = mirror_root(storage), Mirror(storage, mirror_root(storage))
    with reachable(storage):
        for name in whole.names():
            Mirror(joined(storage, name), root / name).pull()
    return root


@contextlib.contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Around what asks a store. Raises StorageError where it does not answer."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the storage {uri.partition('?')[0]} cannot be reached: {_line(error)}",
            "check the address and the access to it",
        ) from error


def _version(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _line(error: OSError) -> str:
    return " ".join(str(error).split())[:300]
