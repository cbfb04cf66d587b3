"""Workers that share tensors out: `python shard_ranks.py FOLDER_OR_URI FOLDER`.

Torch is loaded once, and the workers of each part are forked: two write, three read.
"""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.training.checkpoint.made import same
from training.checkpoint.manifest import Saved
from training.checkpoint.payload import map_tensors
from training.checkpoint.saver import Saver
from training.checkpoint.sharded import shards_of
from training.checkpoint.store import CheckpointStore
from training.session import Checkpoint, Place


class Trained:
    """A model whose weights and optimizer state workers share out; seven inputs, so the parts are of unequal size."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
        fully_shard(self.model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.ones(4, 7)).square().sum().backward()
        self.optimizer.step()

    def checkpoint(self, step: int, best: dict[str, Any]) -> Checkpoint:
        return {
            "epoch": 0, "samples": step, "step": step, "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "history": [{"loss": 1.0}], "rng": torch.arange(4),
            "best": {"epoch": 1, "score": 0.5, "loss": 1.0, "model": best},
        }  # fmt: skip


def whole(checkpoint: Checkpoint) -> Checkpoint:
    """Every worker calls it."""
    full: Checkpoint = map_tensors(
        checkpoint, lambda _, tensor: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
    )
    return full


def two_write(uri: str, folder: Path) -> None:
    trained = Trained()
    trained.step()
    best = {name: tensor.detach().clone() for name, tensor in trained.model.state_dict().items()}
    events: list[str] = []
    saver = Saver(
        CheckpointStore(uri), keep=3, keep_mb=None, on_event=lambda event, _: events.append(event),
        rank=dist.get_rank(), group=dist.new_group(backend="gloo"), give_up_after_s=30,
    )  # fmt: skip
    for step in range(1, 4):
        if step > 1:
            trained.step()
        checkpoint = trained.checkpoint(step, best)
        assert len(shards_of(checkpoint)) == 4 + 8 + 4
        expected = whole(checkpoint)
        saver.save({**checkpoint, "bad": torch.tensor(False)}, Place(0, step, step))
        if dist.get_rank() == 0:
            torch.save(expected, folder / f"expected-{step}.pt")
    # One worker saw what the others did not.
    saver.save({**trained.checkpoint(4, best), "bad": torch.tensor(dist.get_rank() == 1)}, Place(0, 4, 4), wait=True)
    if dist.get_rank() == 0:
        assert events == ["checkpoint_saved"] * 3 + ["checkpoint_refused"], events
        saved = CheckpointStore(uri).list()
        assert [each.step for each in saved] == [1, 2, 3]
        assert len({each.manifest.best for each in saved}) == 1
        assert len(saved[0].manifest.files) == 4  # rest, two workers' shards, their index
        saver.close()


def expected(folder: Path, saved: Saved) -> Checkpoint:
    content: Checkpoint = torch.load(folder / f"expected-{saved.step}.pt", weights_only=True)
    return content


def three_read(uri: str, folder: Path) -> None:
    store = CheckpointStore(uri)
    found = store.newest_intact(group=dist.group.WORLD)
    assert found is not None
    saved, checkpoint = found
    assert saved.step == 3
    assert same(checkpoint, expected(folder, saved))
    other = Trained()
    other.step()
    state = other.checkpoint(0, {name: tensor.clone() for name, tensor in other.model.state_dict().items()})
    loaded = store.load_into(saved, state)
    assert loaded["model"]["0.weight"] is state["model"]["0.weight"]
    assert same(whole(loaded), expected(folder, saved))

    if "://" not in uri:
        damaged(uri, folder)


def damaged(uri: str, folder: Path) -> None:
    part = sorted(Path(uri, "00000003", "shards").glob("__1_*"))[0]
    if dist.get_rank() == 0:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    dist.barrier()
    store = CheckpointStore(uri)
    found = store.newest_intact(group=dist.group.WORLD)
    assert found is not None
    assert found[0].step == 2
    assert same(found[1], expected(folder, found[0]))
    assert "other bytes in shards/__1_" in store.skipped[0]


def read_alone(uri: str, folder: Path) -> None:
    """Without any process group."""
    found = CheckpointStore(uri).newest_intact()
    assert found is not None
    assert same(found[1], expected(folder, found[0]))


def forked(size: int, part: Callable[[str, Path], None], uri: str, folder: Path) -> None:
    children = [os.fork() or worker(rank, size, part, uri, folder) for rank in range(size)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * size, part.__name__


def worker(rank: int, size: int, part: Callable[[str, Path], None], uri: str, folder: Path) -> int:
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/{part.__name__}-{size}", rank=rank, world_size=size,
            timeout=timedelta(seconds=60),
        )  # fmt: skip
        part(uri, folder)
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def main(uri: str, folder: Path) -> None:
    torch.set_num_threads(1)  # a fork has no threads of OpenMP
    forked(2, two_write, uri, folder)
    forked(3, three_read, uri, folder)
    read_alone(uri, folder)
    sys.stdout.write("all seen\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
