"""The host of a trial in a slot: nothing is kept until a checkpoint is due, so that a short trial costs its work."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from training.checkpoint.interval import Due
from training.checkpoint.saver import Saver
from training.checkpoint.store import CheckpointStore
from training.hosts.keeper import SAVED
from training.hosts.notices import Notices
from training.parallel import wrap
from training.session import Checkpoint, Gauges, Order, Place, copied
from training.train_config import CheckpointConfig, TrainConfig


@dataclass
class Watched:
    """What the slot's watchdog looks at. The training thread only counts."""

    beats: int = 0  # boundaries passed, in all trials of this process
    trials: tuple[str, ...] = ()  # that are trained right now; empty while nothing has to move
    deadline: float | None = None  # unix time
    _pauses: int = 0

    def beat(self) -> None:
        """A step was made."""
        self.beats += 1

    @property
    def is_paused(self) -> bool:
        """Whether what happens now may take minutes without a step."""
        return self._pauses > 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Around reading, building, compiling and waiting for the storage: a slow start is no hang."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self.beats += 1

    def is_over(self) -> bool:
        """Whether the time that the budget leaves is up."""
        return self.deadline is not None and time.time() >= self.deadline


class TrialKeeper:
    """A trial's checkpoints in the run's storage. The first one makes the writer; most trials end before."""

    def __init__(self, uri: str, config: CheckpointConfig, *, may_be_there: bool) -> None:
        self._uri, self._config = uri, config
        self._due = Due(config.mean_s_between_losses, config.max_interval_s)
        self._store = CheckpointStore(uri) if may_be_there else None
        self._saver: Saver | None = None
        self.troubles: list[str] = []
        self.saved_bytes = 0

    def is_due(self) -> bool:
        """Whether the interval is over."""
        return self._due.is_due()

    def newest(self) -> Checkpoint | None:
        """The newest intact one. Raises StorageError."""
        if self._saver is not None:
            self._saver.wait()
        if self._store is None:
            return None
        found = self._store.newest_intact()
        self.troubles += [f"passed over the checkpoint {skipped}" for skipped in self._store.skipped]
        return None if found is None else found[1]

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Keep one. Raises StorageError with `wait`, where it cannot be kept."""
        if self._saver is None:
            self._store = self._store or CheckpointStore(self._uri)
            self._saver = Saver(
                self._store, keep=1, keep_mb=self._config.keep_mb, on_event=self._heard, rank=0, group=None
            )
        self._due.saved(self._saver.cost_s)
        self.saved_bytes = self.saved_bytes or 1  # its size is known when it is written
        self._saver.save(checkpoint, place, wait=wait)

    def close(self) -> None:
        """Finish what is being written."""
        if self._saver is not None:
            self._saver.close()

    def _heard(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == SAVED:
            self.saved_bytes = int(facts["bytes"])
        elif "error" in facts or "reason" in facts:
            self.troubles.append(f"{event}: {facts.get('error') or facts.get('reason')}")


@dataclass
class TrialSession:
    """One trial's training, by itself in this process."""

    device: torch.device
    keeper: TrialKeeper
    notices: Notices
    watched: Watched
    rank: int = 0
    world_size: int = 1
    told: list[dict[str, Any]] = field(default_factory=list)
    _latest: Checkpoint | None = None  # in memory, to go back to after a divergence

    def wrap(self, model: nn.Module, config: TrainConfig) -> nn.Module:
        """On the device; with `compile` and `activation_checkpointing` as asked for."""
        return wrap(model, config, self.device, world_size=1)

    def restore(self) -> Checkpoint | None:
        """What was saved last: here, or by an earlier process."""
        return self._latest or self.keeper.newest()

    def boundary(self, place: Place, gauges: Gauges) -> Order:
        """Leave when the machine goes or the time is up; save when it is due."""
        self.watched.beats += 1
        if self.notices.is_raised or self.watched.is_over():
            return Order.LEAVE
        return Order.SAVE if self.keeper.is_due() else Order.GO_ON

    def stalled(self, checkpoint: Callable[[], Checkpoint], place: Place) -> contextlib.AbstractContextManager[None]:
        """A compilation is no hang. What was done is saved before: the machine may be gone before it ends."""
        if place.step:
            self.save(checkpoint(), place)
        return self.watched.paused()

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Into the run's storage. Raises StorageError with `wait`."""
        with self.watched.paused():
            self.keeper.save(checkpoint, place, wait=wait)

    def remember(self, checkpoint: Checkpoint) -> None:
        """To go back to after a divergence, in this process alone."""
        self._latest = copied(checkpoint)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Whoever trains reads the history."""

    def tell(self, event: str, **facts: Any) -> None:
        """Remember."""
        self.told.append({"event": event, **facts})
