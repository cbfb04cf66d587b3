"""A disk that is really full: `python full_disk.py FOLDER`, where FOLDER has a file system of 6 MB of its own."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from tests.training.checkpoint.made import made, place, same
from training.checkpoint.saver import Saver
from training.checkpoint.store import CheckpointStore
from training.errors import StorageError

LARGE = 500  # 1 MB of weights, and as much again of optimizer state


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(".")]


def waited_out(folder: Path) -> None:
    filler = folder / "filler"
    events: list[tuple[str, dict[str, Any]]] = []

    def told(event: str, facts: dict[str, Any]) -> None:
        events.append((event, facts))
        if event == "storage_trouble":
            assert hidden(folder) == [], "half a checkpoint takes the space that is missing"
            assert same(CheckpointStore(store.where).newest_intact()[1], made(1, width=LARGE))
            filler.unlink()

    store = CheckpointStore(str(folder / "checkpoints"))
    saver = Saver(store, keep=1, keep_mb=None, on_event=told, give_up_after_s=30)
    saver.save(made(1, width=LARGE), place(1), wait=True)
    fill(filler)
    saver.save(made(2, width=LARGE), place(2), wait=True)
    assert [event for event, _ in events[1:]] == ["storage_trouble", "storage_recovered", "checkpoint_saved"], events
    assert events[1][1]["trouble"] == "no_space"
    assert events[1][1]["free_mb"] < 1
    found = store.newest_intact()
    assert found is not None
    assert same(found[1], made(2, width=LARGE))


def given_up(folder: Path) -> None:
    store = CheckpointStore(str(folder / "checkpoints"))
    fill(folder / "filler")
    saver = Saver(store, keep=1, keep_mb=None, on_event=lambda *_: None, give_up_after_s=0.5)
    with pytest.raises(StorageError, match=r"No space left on device.*last good checkpoint is .*00000002") as raised:
        saver.save(made(3, width=LARGE), place(3), wait=True)
    sys.stdout.write(f"{raised.value}\n")
    assert hidden(folder) == []
    found = store.newest_intact()
    assert found is not None
    assert found[0].step == 2


def shards(folder: Path) -> None:
    """torch's distributed checkpoint must say that the disk is full, and not end the process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    tensor = distribute_tensor(torch.zeros(LARGE, LARGE), init_device_mesh("cpu", (1,)))
    store = CheckpointStore(str(folder / "checkpoints"))
    with pytest.raises(OSError, match="No space left on device"):
        store.write({"model": {"w": tensor}}, place(4), dist.group.WORLD)
    assert hidden(folder) == []
    dist.destroy_process_group()


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left on device"):
            write_without_end(file)
        os.ftruncate(file.fileno(), file.tell() - 65536 * 8)  # a checkpoint begins, and does not end


def write_without_end(file: io.FileIO) -> None:
    while True:
        file.write(b"x" * 65536)


if __name__ == "__main__":
    waited_out(Path(sys.argv[1]))
    given_up(Path(sys.argv[1]))
    shards(Path(sys.argv[1]))
    sys.stdout.write("all seen\n")
