"""What the driver, Ray Train's controller and the workers share: pulses, records, orders, and the verdict on failures.

It runs as an actor on the driver's node, beside Ray's own head processes and never on a machine that may be taken
away. It is told; the only thing that it asks is Ray, once a second, for nodes that are to go: one question for all
workers, and one answer, so that a notice reaches every rank by the pulse it sends anyway.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from training.hosts.failures import Budget, Failure, Stop
from training.hosts.judge import LEFT, Death, judged
from training.hosts.pulse import MAKES_STEPS, Pulse
from training.hosts.root_cause import Cause
from training.hosts.stall import say

logger = logging.getLogger(__name__)
TICK_S = 1.0
STACKS_AFTER = 0.8  # of the hang's timeout: stacks are asked for before somebody is blamed
SILENT_S = 5.0  # without a pulse
CHECKPOINT_EVENT_EVERY_S = 60.0

Record = tuple[str, dict[str, Any]]
Told = tuple[int, tuple[Any, ...]]  # a number that counts up in each process; what is told, and its facts


@dataclass(frozen=True)
class Orders:
    """The answer to a pulse."""

    leave: str = ""  # why
    send_stack: bool = False
    die: str = ""  # why


@dataclass(frozen=True)
class Report:
    """What the driver has not seen yet, and how it is now."""

    records: tuple[Record, ...]
    pulses: tuple[Pulse, ...]
    is_running: bool
    restarts: int
    lost_steps: int
    stop: Stop | None
    waits: tuple[int, int] | None = None  # for machines: workers that fit now, and that could if nothing else ran


class Machines(Protocol):
    """The cluster, as far as the monitor asks about it."""

    def draining(self) -> Collection[str]:
        """Nodes that were told to go."""

    def lost(self, node_ids: Collection[str]) -> set[str]:
        """Those that are gone, or go."""


class Monitor:
    """One training's. Calls come from several threads: a lock guards all of it."""

    def __init__(
        self, max_failures: int, hang_timeout_s: float, machines: Machines, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._machines, self._clock, self._hang_timeout_s = machines, clock, hang_timeout_s
        self._budget = Budget(max_failures)
        self._lock = threading.RLock()
        self._records: list[Record] = []
        self._stop: Stop | None = None
        self._ordered_to_end = ""
        self._restarts = self._lost_steps = 0
        self._lost_at: float | None = None
        self._lost_step = 0
        self._began_at = clock()
        self._saves: list[tuple[float, float]] = []
        self._saves_told_at = -CHECKPOINT_EVENT_EVERY_S
        self._is_running = False
        self._knows_groups = False  # the controller has told of one
        self._waits: tuple[int, int] | None = None
        self._group: dict[int, Pulse] = {}
        self._begin(())

    def _begin(self, group: Sequence[Pulse]) -> None:
        self._group = {pulse.rank: pulse for pulse in group}
        self._pulses: dict[int, Pulse] = {}
        self._num_heard: dict[int, int] = {}
        self._heard_at = dict.fromkeys(self._group, self._clock())
        self._moved_at = dict.fromkeys(self._group, self._clock())
        self._stacks: dict[int, list[str]] = {}
        self._leave = self._ordered_to_end
        self._hang = ""
        self._asks_stacks = False
        self._restored: Mapping[str, Any] | None = None

    # -- told by workers ------------------------------------------------------------------------------------------

    def pulse(self, pulse: Pulse, told: Sequence[Told] = ()) -> Orders:
        """A worker lives, and has this to tell. One of an earlier group is not heard, and gets no orders."""
        with self._lock:
            if not self._knows_groups:
                self._adopt(pulse)
            placed = self._group.get(pulse.rank)
            if placed is None or (placed.node_id, placed.pid) != (pulse.node_id, pulse.pid):
                return Orders()
            self._hear(pulse.rank, told)
            before, now = self._pulses.get(pulse.rank), self._clock()
            if not self._is_running:  # a survivor, whose step is news
                self._lost_step = max(self._lost_step, pulse.step)
            if before is None or pulse.boundaries != before.boundaries or pulse.phase not in MAKES_STEPS:
                self._moved_at[pulse.rank] = now
            self._pulses[pulse.rank], self._heard_at[pulse.rank] = pulse, now
            if pulse.rank == 0 and pulse.boundaries:
                self._tell_resumed()
            return Orders(self._leave, self._asks_stacks and pulse.rank not in self._stacks, self._hang)

    def _adopt(self, pulse: Pulse) -> None:
        """This process began anew, after a crash of its own: without their pulses workers would never be told to go."""
        if pulse.rank not in self._group:
            self._group[pulse.rank] = pulse
            self._heard_at[pulse.rank] = self._moved_at[pulse.rank] = self._clock()
            self._is_running = True

    def _hear(self, rank: int, told: Sequence[Told]) -> None:
        for number, (what, *facts) in told:
            if number >= self._num_heard.get(rank, 0):  # else its answer was lost, and it came again
                self._num_heard[rank] = number + 1
                hears: dict[str, Callable[..., None]] = {"epoch": self.epoch, "tell": self.tell, "saved": self.saved}
                hears[what](*facts)

    def restored(self, step: int, epoch: int, history: Sequence[Mapping[str, float]], name: str | None) -> None:
        """Rank 0 goes on from a checkpoint, or begins (`name` is None). Its history is told again: the driver that
        heard it first may be gone."""
        with self._lock:
            self._restored = {"step": step, "epoch": epoch, "checkpoint": name}
            if name is not None:
                self._budget.resumed_at(step)
            self._records.append(("restored", {"history": [dict(each) for each in history]}))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Rank 0 finished one."""
        with self._lock:
            self._records.append(("epoch", dict(metrics)))

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something for the run's record."""
        with self._lock:
            self._records.append((event, dict(facts)))

    def saved(self, step: int, cost_s: float, num_bytes: int) -> None:
        """A checkpoint is safe. Recorded once a minute: a long run has thousands."""
        with self._lock:
            self._budget.saved(step)
            self._saves.append((cost_s, num_bytes))
            if self._clock() - self._saves_told_at >= CHECKPOINT_EVENT_EVERY_S:
                self._tell_saves(step)

    def stack(self, rank: int, frames: Sequence[str]) -> None:
        """Where a worker's training thread is."""
        with self._lock:
            self._stacks[rank] = list(frames)

    # -- told by Ray Train's controller ---------------------------------------------------------------------------

    def started(self, group: Sequence[Pulse]) -> None:
        """Workers were placed, and begin."""
        with self._lock:
            self._begin(group)
            self._is_running, self._waits, self._knows_groups = True, None, True

    def failed(self, causes: Sequence[Cause], deaths: Sequence[Death], start_error: str = "") -> bool:
        """A group ended before its time; whether to start another."""
        with self._lock:
            self._is_running = False
            gone = self._machines.lost({pulse.node_id for pulse in self._group.values()})
            latest = self._group | self._pulses
            failure = judged(causes, deaths, latest, self._silent(), gone, self._hang, self._leave, start_error)
            self._stop = self._stop or self._budget.judge(failure)
            goes_on = self._stop is None and not self._ordered_to_end
            self._note(failure, causes, start_error, goes_on)
            return goes_on

    def waiting(self, fits: tuple[int, int] | None) -> str:
        """Workers that fit now, and that could if nothing else ran, while these are not enough; then None.

        Returns why nobody wants the training any more; empty where somebody does.
        """
        with self._lock:
            self._waits = fits
            return self._ordered_to_end

    def grow(self, num_workers: int) -> None:
        """There is room for more: save, and begin again with them."""
        with self._lock:
            if self._is_running and not self._leave:
                self._leave = f"{num_workers} workers fit now"

    # -- told by the driver ---------------------------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Save and end; do not start again."""
        with self._lock:
            self._ordered_to_end = self._leave = reason

    def pull(self) -> Report:
        """What is new since the last call."""
        with self._lock:
            records, self._records = tuple(self._records), []
            pulses = tuple(self._pulses[rank] for rank in sorted(self._pulses))
            return Report(records, pulses, self._is_running, self._restarts, self._lost_steps, self._stop, self._waits)

    # -- by the clock ---------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """For ever, from a thread of its own."""
        while True:
            time.sleep(TICK_S)
            try:
                self.tick()
            except Exception:  # a GCS that cannot be asked now is asked again
                logger.exception("could not look at the cluster")

    def tick(self) -> None:
        """Look for nodes that are to go, and for workers that stand still."""
        going = self._machines.draining() if self._is_running else ()
        with self._lock:
            mine = {p.ip: p.rank for p in self._group.values() if p.node_id in going}
            if mine and not self._leave:
                self._leave = f"node {', '.join(sorted(mine))} is being drained"
            if self._is_running:
                self._look_for_hang()

    def _look_for_hang(self) -> None:
        now = self._clock()
        if self._hang or not self._pulses or any(pulse.phase not in MAKES_STEPS for pulse in self._pulses.values()):
            return
        stood_s = now - min(self._moved_at.values())
        self._asks_stacks = stood_s >= self._hang_timeout_s * STACKS_AFTER
        if stood_s < self._hang_timeout_s:
            self._stacks = {} if not self._asks_stacks else self._stacks
            return
        self._hang = say(self._group | self._pulses, self._silent(), self._stacks, stood_s)
        self._records.append(("hang", {"what": self._hang, "stacks": dict(self._stacks)}))

    def _silent(self) -> set[int]:
        now = self._clock()
        return {rank for rank, at in self._heard_at.items() if now - at > SILENT_S}

    def _note(self, failure: Failure, causes: Sequence[Cause], start_error: str, goes_on: bool) -> None:
        """Remember what was lost, for the record and for the time that it costs."""
        self._restarts += goes_on
        steps = [pulse.step for pulse in self._pulses.values()] + [cause.step for cause in causes]
        if self._lost_at is None:  # else this group ended before its first step: what the one before lost still is
            self._lost_at, self._lost_step = self._clock(), 0
        self._lost_step = max(self._lost_step, *steps, 0)
        kinds = {"left": "preempted", "machine": "worker_lost", "crash": "worker_lost", "hang": "worker_lost"}
        facts = {"what": failure.line, "kind": failure.kind, "step": self._lost_step, "workers": len(self._group)}
        facts["goes_on"] = goes_on
        self._records.append((kinds.get(failure.kind, "worker_failed"), facts))
        errors = [cause for cause in causes if cause.error_type != LEFT]
        self._records.extend(("trace", {"what": failure.line, "trace": cause.trace}) for cause in errors)
        if start_error:
            self._records.append(("trace", {"what": failure.line, "trace": start_error}))

    def _tell_resumed(self) -> None:
        """Once a group: at its first boundary."""
        restored, self._restored = self._restored, None
        if restored is None or (self._lost_at is None and restored["checkpoint"] is None):
            return
        since = self._began_at if self._lost_at is None else self._lost_at
        # Of a driver that is gone nobody knows how far it was.
        lost = max(self._lost_step - restored["step"], 0) if self._lost_at is not None else None
        self._lost_steps += lost or 0
        facts = {"workers": len(self._group), "seconds": self._clock() - since, "steps_lost": lost}
        self._records.append(("resumed", {**restored, **facts}))
        self._lost_at = None

    def _tell_saves(self, step: int) -> None:
        costs, sizes = zip(*self._saves, strict=True)
        facts = {"step": step, "count": len(costs), "cost_s": sum(costs) / len(costs), "num_bytes": sizes[-1]}
        self._records.append(("checkpoint", facts))
        self._saves, self._saves_told_at = [], self._clock()
