"""A host's checkpoints: when the next is due, where they go, and who hears of them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch.distributed as dist

from training.checkpoint.interval import Due
from training.checkpoint.saver import Saver
from training.checkpoint.store import CheckpointStore
from training.errors import StorageError
from training.run_mirror import joined
from training.session import Checkpoint, Place
from training.train_config import CheckpointConfig

Tell = Callable[[str, Mapping[str, Any]], None]
SavedTo = Callable[[int, float, int], None]  # step, seconds held, bytes
SAVED = "checkpoint_saved"


class Keeper:
    """Of one rank. With peers, every rank calls each method, at the same place."""

    def __init__(
        self, uri: str, config: CheckpointConfig, saved: SavedTo, tell: Tell, rank: int = 0,
        group: dist.ProcessGroup | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            uri: of the folder of this training's checkpoints.
            config: how often, and how many are kept.
            saved: told of each checkpoint that is safe, from the thread that writes.
            tell: told of trouble, from the same thread.
            rank: of this process.
            group: of gloo, which nobody else uses; None without peers.
        """
        self._store = CheckpointStore(uri)
        self._saver = Saver(
            self._store, keep=config.keep, keep_mb=config.keep_mb, on_event=self._heard, rank=rank, group=group
        )
        self._due = Due(config.mean_s_between_losses, config.max_interval_s)
        self._saved, self._tell, self._group = saved, tell, group

    def is_due(self) -> bool:
        """Whether the interval is over."""
        return self._due.is_due()

    def newest(self) -> tuple[Checkpoint | None, str | None]:
        """The newest intact checkpoint and its name, the same on every rank. Raises StorageError."""
        self._saver.wait()  # after a divergence the one to go back to may still be on its way
        found = self._store.newest_intact("cpu", self._group)  # the loop places each tensor where it belongs
        self._due.saved(self._saver.cost_s)  # what is gone back to need not be saved again at once
        for skipped in self._store.skipped:
            self._tell("checkpoint_skipped", {"message": f"passed over the checkpoint {skipped}"})
        return (None, None) if found is None else (found[1], found[0].name)

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool) -> None:
        """Keep one; with `wait` it is safe on return. Raises StorageError."""
        self._due.saved(self._saver.cost_s)
        self._saver.save(checkpoint, place, wait=wait)

    def flush(self) -> None:
        """Until what was saved is safe. Of one rank without peers: it may be called from a signal's handler."""
        self._saver.wait()

    def close(self) -> None:
        """Finish what is being written."""
        self._saver.close()

    def _heard(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == SAVED:
            self._saved(facts["step"], facts["held_s"], facts["bytes"])
        else:
            self._tell(event, {"what": facts.get("error") or facts.get("reason"), **facts})


def last_checkpoint(uri: str) -> tuple[Checkpoint, str]:
    """The newest intact one below a folder or URI, and where it lies. Raises StorageError where there is none."""
    store = CheckpointStore(uri)
    found = store.newest_intact()
    if found is None:
        raise StorageError(
            f"training ended without a checkpoint in {store.where}",
            "the workers must see the same folder as this process: give --storage a path that all nodes share",
        )
    return found[1], joined(uri, found[0].name)


def checkpoint_at(path: str) -> Checkpoint:
    """The one that lies there. Raises StorageError where it does no more."""
    place, mark, options = path.partition("?")
    folder, _, name = place.rpartition("/")
    store = CheckpointStore(folder + mark + options)
    try:
        for saved in store.list():
            if saved.name == name:
                if damage := store.problems(saved):
                    raise StorageError(
                        f"the checkpoint {place} is damaged: it {damage[0]}",
                        "bring it back from a copy, or give the run another name to train it again",
                    )
                return store.read(saved)
    except OSError as error:
        raise StorageError(f"the checkpoint {place} cannot be read: {error}") from error
    raise StorageError(f"the checkpoint {place} is gone", "give the run another name to train it again")
