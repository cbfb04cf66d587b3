"""Checkpoints written beside training: the step pays for a copy in memory, a thread does the rest."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from training.checkpoint.patience import Patience, Superseded
from training.checkpoint.sharded import has_shards
from training.checkpoint.snapshot import Buffers, HostCopies, Taken
from training.checkpoint.store import CheckpointStore
from training.checkpoint.team import Team
from training.errors import StorageError
from training.session import Checkpoint, Place

OnEvent = Callable[[str, dict[str, Any]], None]
GIVE_UP_AFTER_S = 600.0
BACKGROUND_WEIGHT = 1.0  # of a CPU second beside training; where all cores train it takes up to that from the step
HUNG_AFTER_S = 60.0  # beyond the time to give up: then the storage neither works nor fails


@dataclass
class _Job:
    taken: Taken
    place: Place
    buffers: Buffers
    held_s: float
    is_sharded: bool


class Saver:
    """Saves one training's checkpoints. At most one is being written; a newer one takes the place of one that waits.

    Where workers share tensors out, all of them write, each save in turn, so there `save` waits for the one before.
    """

    def __init__(
        self, store: CheckpointStore, *, keep: int, keep_mb: float | None, on_event: OnEvent, rank: int = 0,
        group: dist.ProcessGroup | None = None, give_up_after_s: float = GIVE_UP_AFTER_S,
    ) -> None:  # fmt: skip
        """
        Args:
            store: where to.
            keep: newest checkpoints to keep.
            keep_mb: most megabytes (10^6 bytes) of checkpoints; None for no limit.
            on_event: told `checkpoint_saved`, `checkpoint_refused`, `storage_trouble`, `storage_recovered` and
                `checkpoints_over_limit`, with facts, from the thread that writes.
            rank: the first writes what workers do not share out.
            group: a gloo group of all workers that nobody else uses. With it `save(wait=True)` returns on all of them
                when all is safe; shared-out tensors need it.
            give_up_after_s: how long to wait for a storage that fails.
        """
        self.store = store
        self._keep, self._keep_mb, self._on_event, self._rank, self._group = keep, keep_mb, on_event, rank, group
        self._hung_after_s = give_up_after_s + HUNG_AFTER_S
        self.cost_s: float | None = None  # what a checkpoint takes from training; None until one is written
        self.last_bytes = 0  # of the checkpoint written last
        self.blocked_s = 0.0  # that training was held, in all
        self._changed = threading.Condition()
        self._pending: _Job | None = None
        self._current: _Job | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._was_over = False
        self._stopping = threading.Event()
        self._patience = Patience(store, give_up_after_s, self._tell, self._stopping)
        copies = HostCopies()
        self._buffers = [Buffers(copies), Buffers(copies)]  # the second is filled only if saves overlap

    @property
    def is_idle(self) -> bool:
        """True while nothing waits or is being written."""
        with self._changed:
            return self._current is None and self._pending is None

    def save(self, checkpoint: Checkpoint, place: Place, *, wait: bool = False) -> None:
        """Keep this one. Its tensors may change as soon as this returns; with `wait` it is safe by then.

        Every rank calls it. A checkpoint whose `bad` is true, a tensor of no dimension, is not kept.

        Raises:
            StorageError: the storage failed for too long, now or at an earlier save.
        """
        started = time.perf_counter()
        try:
            self._raise_error()
            is_sharded = has_shards(checkpoint)
            if self._rank == 0 or is_sharded:
                if is_sharded:
                    self._wait_until_idle()
                self._enqueue(checkpoint, place, is_sharded, started)
            if wait:
                self.wait()
        finally:
            self.blocked_s += time.perf_counter() - started

    def wait(self) -> None:
        """Return when all that was saved is safe; with a group on all ranks, and all of them call it.

        Raises:
            StorageError: it cannot be made safe, or the storage hangs.
        """
        error: Exception | None = None
        try:
            self._wait_until_idle()
            self._raise_error()
        except Exception as mine:  # the others wait to hear of it, whatever it is
            error = mine
        if self._group is not None:
            reasons = self._told_by_all(error)
            if error is None and reasons:
                raise StorageError(f"another worker could not save: {reasons[0]}")
        if error is not None:
            raise error

    def close(self) -> None:
        """Stop waiting for a storage that fails; what is being written is finished. Raises nothing."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join(HUNG_AFTER_S)

    def _enqueue(self, checkpoint: Checkpoint, place: Place, is_sharded: bool, started: float) -> None:
        with self._changed:
            self._pending = None  # whatever waits is older than this one, and its memory is used now
            busy = self._current.buffers if self._current is not None else None
        buffers = next(each for each in self._buffers if each is not busy)
        taken = buffers.take(checkpoint)
        job = _Job(taken, place, buffers, time.perf_counter() - started, is_sharded)
        with self._changed:
            self._pending = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._current, self._pending = self._pending, None
                self._changed.notify_all()
                if self._current is None:
                    self._thread = None
                    return
                job = self._current
            try:
                self._do(job)
            except Superseded:
                continue
            except Exception as error:  # raised again where training can hear it
                self._error = error

    def _do(self, job: _Job) -> None:
        began_cpu_s, began_s = time.thread_time(), time.perf_counter()
        checkpoint = job.taken.ready()
        team = Team(self._group if job.is_sharded else None)
        is_bad = any(team.together(lambda: bool(checkpoint.pop("bad", False))))
        if is_bad:
            self._tell("checkpoint_refused", step=job.place.step, reason="a loss that is no number was seen")
            return
        group = self._group if job.is_sharded else None
        saved = self._patience.insist(
            lambda: self.store.write(checkpoint, job.place, group), job.place.step, team, self._has_newer
        )
        self._patience.last_good = saved
        self.last_bytes = saved.num_bytes
        if team.rank == 0:
            self._prune()
        self._measure(job.held_s, time.thread_time() - began_cpu_s)
        self._tell(
            "checkpoint_saved", step=saved.step, bytes=saved.num_bytes, path=saved.path,
            seconds=time.perf_counter() - began_s, held_s=job.held_s,
        )  # fmt: skip

    def _prune(self) -> None:
        try:
            retention = self.store.tidy(self._keep, self._keep_mb)
        except OSError as error:
            # The checkpoint is safe, and the next one tidies again.
            self._tell("storage_trouble", trouble="not_tidied", where=self.store.where, error=str(error))
            return
        if retention.is_over and not self._was_over:
            self._tell("checkpoints_over_limit", mb=retention.left_mb, limit_mb=self._keep_mb, where=self.store.where)
        self._was_over = retention.is_over

    def _measure(self, held_s: float, cpu_s: float) -> None:
        cost_s = held_s + BACKGROUND_WEIGHT * cpu_s
        # The first one also pays for memory and folders; the newer, the more it says of the next.
        self.cost_s = cost_s if self.cost_s is None else (self.cost_s + cost_s) / 2

    def _has_newer(self) -> bool:
        with self._changed:
            return self._pending is not None

    def _wait_until_idle(self) -> None:
        with self._changed:
            is_idle = self._changed.wait_for(
                lambda: self._current is None and self._pending is None, timeout=self._hung_after_s
            )
        if not is_idle:
            raise StorageError(
                f"the storage {self.store.where} hangs: a checkpoint is neither written nor refused after "
                f"{self._hung_after_s:.0f} s",
                "look at the mount; the run goes on from its last good checkpoint when it is started again",
            )

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _told_by_all(self, error: Exception | None) -> list[str]:
        """Why other workers could not save."""
        everyone: list[str | None] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(everyone, None if error is None else str(error), group=self._group)
        return [reason for reason in everyone if reason is not None]

    def _tell(self, event: str, **facts: Any) -> None:
        if self._rank == 0:
            self._on_event(event, facts)
