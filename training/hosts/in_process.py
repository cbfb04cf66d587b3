"""The host of one worker on this machine: the driver itself. No process is started, and no Ray is needed."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from training.hosts.boundary import Boundary
from training.hosts.keeper import Keeper
from training.hosts.monitor import Monitor, Report
from training.hosts.notices import Notices, Signals
from training.hosts.pulse import Pulse
from training.hosts.record import Recorder
from training.hosts.session import HostSession
from training.hosts.vitals import Vitals
from training.session import Leaving, Session
from training.train_config import TrainConfig

SHOW_EVERY_S = 1.0
NODE = "this machine"


class NoMachines:
    """One's own machine is not given notice through Ray."""

    def draining(self) -> Collection[str]:
        """None."""
        return ()

    def lost(self, node_ids: Collection[str]) -> set[str]:
        """None."""
        return set()


class OwnRecord:
    """The channel of a training in this process: once a second it takes its own pulse and shows it."""

    def __init__(self, vitals: Vitals, recorder: Recorder, config: TrainConfig) -> None:
        self._vitals, self._recorder = vitals, recorder
        self._monitor = Monitor(config.max_failures, config.hang_timeout_s, NoMachines())
        self._monitor.started([vitals.me])
        self._timeout_s = config.hang_timeout_s
        self._shown_at = -SHOW_EVERY_S
        self._ends = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="manta-watchdog", daemon=True)
        self._watchdog.start()

    def passed(self) -> None:
        """A boundary."""
        now = time.monotonic()
        if now - self._shown_at >= SHOW_EVERY_S:
            self._shown_at = now
            self.show()

    def show(self) -> Report:
        """Record and show what is new. Raises OSError when the journal cannot be written."""
        self._monitor.pulse(self._vitals.pulse())
        report = self._monitor.pull()
        self._recorder.take(report)
        return report

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Written at once."""
        self._monitor.epoch(metrics)
        self.show()

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Written with the next pulse."""
        self._monitor.tell(event, facts)

    def saved(self, step: int, cost_s: float, num_bytes: int) -> None:
        """A checkpoint is safe."""
        self._monitor.saved(step, cost_s, num_bytes)

    def restored(self, step: int, epoch: int, history: Sequence[Mapping[str, float]], name: str | None) -> None:
        """Where it goes on."""
        self._monitor.restored(step, epoch, history, name)

    def close(self) -> None:
        """No more watching."""
        self._ends.set()
        self._watchdog.join()

    def _watch(self) -> None:
        """Says that no step is made, and where it stands; ends nothing. Nobody waits for this process, and it may be
        a slow disk, or a person in a debugger."""
        told_at = seen = -1
        since = time.monotonic()
        while not self._ends.wait(min(1.0, self._timeout_s / 4)):
            vitals = self._vitals
            if vitals.boundaries != seen or vitals.phase not in ("train", "evaluate"):
                seen, since = vitals.boundaries, time.monotonic()
            elif time.monotonic() - since >= self._timeout_s and told_at != seen:
                told_at = seen
                self._tell_hang(time.monotonic() - since)

    def _tell_hang(self, seconds: float) -> None:
        stack = self._vitals.stack()
        what = f"training made no step for {seconds:.0f} s (at step {self._vitals.place.step}); see errors.log"
        record = ("hang", {"what": what, "stacks": {0: stack}})
        self._recorder.take(Report((record,), (), True, 0, 0, None))


@contextlib.contextmanager
def own_session(
    config: TrainConfig, device: torch.device, num_samples: int, recorder: Recorder, told: Callable[[str], None],
    checkpoints: str,
) -> Iterator[Session]:  # fmt: skip
    """A session in this process, for the length of a `with` block.

    A signal is answered by a save at the next boundary, and has its effect after that; so does an order to leave.

    Args:
        config: of the training.
        device: to train on.
        num_samples: of one epoch.
        recorder: of the run.
        told: a line for the person.
        checkpoints: where they are kept.
    """
    me = Pulse(0, 1, NODE, socket.gethostname(), os.getpid())
    vitals, notices = Vitals(me, num_samples), Notices()
    channel = OwnRecord(vitals, recorder, config)
    signals = Signals(notices, told)
    try:
        keeper = Keeper(checkpoints, config.checkpoint, channel.saved, channel.tell)
        signals.cannot_wait = lambda: _is_safe_in_compilation(vitals, keeper)
        session = HostSession(0, 1, device, Boundary(notices, keeper.is_due), keeper, vitals, channel)
        with _threads(config), signals.caught(), contextlib.closing(keeper):
            try:
                yield session
            except Leaving:
                channel.tell("preempted", {"what": notices.reason, "kind": "left", "step": vitals.place.step})
                raise
        channel.show()
    except Leaving:
        channel.show()
        signals.pass_on()
        raise
    finally:
        channel.close()


def _is_safe_in_compilation(vitals: Vitals, keeper: Keeper) -> bool:
    """No boundary comes for minutes; but all that there is was given to the keeper before."""
    if vitals.phase != "compile":
        return False
    keeper.flush()
    return True


@contextlib.contextmanager
def _threads(config: TrainConfig) -> Iterator[None]:
    """As many as a worker of Ray would be given: the same sums, and as fair to others."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
