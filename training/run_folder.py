"""The folder of a run: the only truth about what happened, readable without Manta."""

import fcntl
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import yaml

from training.config import Experiment
from training.errors import StorageError
from training.journal import Journal
from training.run_mirror import CHECKPOINTS, Mirror, is_uri, joined, mirror_root, reachable
from training.run_record import mapping_in

# A change here makes an earlier result the result of something else. What is left out only says where and how.
DECIDES_THE_MODEL = ("data", "model", "train", "ensemble", "search")
DYING_S = 15.0  # a job that was stopped is called so by Ray while its process still ends
WITHOUT_EFFECT = {
    "train": ("workers", "cpus_per_worker", "device", "max_failures", "checkpoint", "hang_timeout_s"),
    "search": (  # more trials or a larger budget extend a search
        "trials",
        "concurrency",
        "max_failures_per_trial",
        "fuse",
        "lanes",
        "gpus_per_trial",
        "memory_mb_per_trial",
        "budget",
        "usd_per_device_hour",
        "storage_budget",
        "keep_best",
        "points",
    ),
}


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run's folder, and its journal. Of a run in an object store it is this machine's mirror."""

    path: Path
    uri: str = ""  # of the run in an object store; empty where the folder is the run

    @classmethod
    def of(cls, experiment: Experiment) -> "RunFolder":
        """Where this experiment's run lives; nothing is made yet."""
        path = storage_root(experiment.storage) / experiment.name
        return cls(path, joined(experiment.storage, experiment.name) if is_uri(experiment.storage) else "")

    def checkpoints_of(self, training: str) -> str:
        """Folder, or URI, of the checkpoints of one training in the run."""
        if self.uri:
            return joined(self.uri, CHECKPOINTS, training)
        return str(self.path / CHECKPOINTS / training)

    def refreshed(self) -> "RunFolder":
        """The same, after a look into the object store that it may lie in. Raises StorageError."""
        if self.uri:
            with reachable(self.uri):
                Mirror(self.uri, self.path).pull()
        return self

    @cached_property
    def journal(self) -> Journal:
        """The record of what happened."""
        return Journal(self.path / "journal.jsonl")

    @property
    def experiment_file(self) -> Path:
        """The resolved experiment."""
        return self.path / "experiment.yaml"

    @property
    def trials(self) -> Path:
        """The search's study and the trials' checkpoints."""
        return self.path / "trials"

    @property
    def quarantine(self) -> Path:
        """Rows that were set aside, with their reasons; there only if there are some."""
        return self.path / "quarantine.parquet"

    @property
    def package(self) -> Path:
        """The package, once there is one."""
        return self.path / "package"

    def open(self, experiment: Experiment) -> None:
        """Make the folder, or check that the run in it is this experiment's.

        Raises:
            StorageError: not writable, or the folder holds the run of another experiment.
        """
        check_writable(self.path)
        if self.experiment_file.exists():
            self._refuse_other(experiment)
        write_text(self.experiment_file, to_yaml(experiment))

    @contextmanager
    def alone(self, lock: str = ".lock", told: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the folder: two drivers on one run would train over each other. A dead holder's lock is gone with it.

        Of a run in an object store the folder is fetched first, and brought there as long as this lasts.

        Args:
            lock: its file.
            told: hears of a store that cannot be reached meanwhile.
        """
        check_writable(self.path)
        with (self.path / lock).open("w") as file:
            deadline = time.monotonic() + DYING_S
            while not _take(file):
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"another process is working on the run in {self.path}",
                        "wait for it, or give this one a name of its own: --set name=...",
                    )
                time.sleep(0.1)
            with Mirror(self.uri, self.path).held(told) if self.uri else nullcontext():
                yield

    def _refuse_other(self, experiment: Experiment) -> None:
        changes = differences(
            _deciding_part(mapping_in(self.experiment_file, yaml.safe_load)),
            _deciding_part(experiment.model_dump(mode="json")),
        )
        if changes:
            listed = "\n  ".join(changes[:12])
            raise StorageError(
                f"{self.path} holds a run of a different experiment:\n  {listed}",
                f"give this one a name of its own (--set name={experiment.name}-2), or remove {self.path}",
            )

    def write_json(self, name: str, value: Any) -> None:
        """Write one file whole or not at all."""
        write_text(self.path / name, json.dumps(value, indent=2))


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def storage_root(storage: str) -> Path:
    """The storage folder as an absolute path; of an object store the folder of this machine that mirrors it."""
    if is_uri(storage):
        return mirror_root(storage)
    return Path(storage.removeprefix("file://")).expanduser().resolve()


def check_writable(folder: Path) -> None:
    """Make the folder and write to it once. Raises StorageError with the reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise StorageError(
            f"the storage {folder} cannot be written: {error.strerror or error}",
            "give another folder with --storage, or correct its permissions",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write to a temporary file and rename it, so that a reader never sees half."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)  # temporary files are private; this one is for others to read
    Path(file.name).replace(path)


def to_yaml(experiment: Experiment) -> str:
    """The experiment with every default spelled out."""
    return str(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


def differences(earlier: Any, now: Any, key: str = "") -> list[str]:
    """Leaves that differ, as `key: before -> now`, with values as YAML has them."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        keys = [*now, *(name for name in earlier if name not in now)]
        found = [differences(earlier.get(name), now.get(name), f"{key}.{name}".lstrip(".")) for name in keys]
        return [change for changes in found for change in changes]
    return [] if earlier == now else [f"{key}: {in_yaml(earlier)} -> {in_yaml(now)}"]


def in_yaml(value: Any) -> str:
    """A value as a person would write it into the experiment's file, in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def _deciding_part(dumped: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for section in DECIDES_THE_MODEL:
        value = dumped.get(section)
        if isinstance(value, dict):
            value = {key: item for key, item in value.items() if key not in WITHOUT_EFFECT.get(section, ())}
        part[section] = value
    return part
