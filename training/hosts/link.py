"""From a worker to the monitor, and its orders back. Nothing of it is in the step's path."""

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from training.hosts.monitor import Orders, Told
from training.hosts.notices import Notices
from training.hosts.vitals import Vitals

logger = logging.getLogger(__name__)
PULSE_EVERY_S = 1.0
ANSWER_TIMEOUT_S = 10.0
COMPLAIN_EVERY_S = 60.0


class Link:
    """A worker's channel: a thread sends pulses, and with them, in its order, what there is to tell.

    Calls of their own would overtake each other: an actor that takes several at a time takes them in any order.
    """

    def __init__(self, monitor: Any, vitals: Vitals, notices: Notices) -> None:
        self._monitor, self._vitals, self._notices = monitor, vitals, notices
        self._wakes = threading.Event()
        self._ends = False
        self._told: deque[Told] = deque()
        self._num_told = 0
        self._lock = threading.Lock()  # the thread that saves tells things, too
        self._complained_at = -COMPLAIN_EVERY_S
        self._thread = threading.Thread(target=self._beat, name="manta-pulse", daemon=True)

    def start(self) -> None:
        """Begin to send pulses."""
        self._thread.start()

    def close(self) -> None:
        """Send no more, but what was told before has been taken in."""
        self._ends = True
        self._wakes.set()
        self._thread.join(timeout=ANSWER_TIMEOUT_S)

    def passed(self) -> None:
        """A boundary. The first one is told at once: the time to come back is measured by it."""
        if self._vitals.boundaries == 1:
            self.wake()

    def wake(self) -> None:
        """Send a pulse now."""
        self._wakes.set()

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Rank 0 finished one."""
        self._tell("epoch", dict(metrics))

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something for the run's record."""
        self._tell("tell", event, dict(facts))

    def saved(self, step: int, cost_s: float, num_bytes: int) -> None:
        """A checkpoint is safe."""
        self._tell("saved", step, cost_s, num_bytes)

    def restored(self, step: int, epoch: int, history: Sequence[Mapping[str, float]], name: str | None) -> None:
        """Where this group goes on; waited for, so that it is known before anything that follows."""
        ray.get(self._monitor.restored.remote(step, epoch, list(history), name), timeout=ANSWER_TIMEOUT_S)

    def _tell(self, *what: Any) -> None:
        with self._lock:
            self._told.append((self._num_told, what))
            self._num_told += 1

    def _beat(self) -> None:
        while not self._ends:
            self._obey(self._pulse())
            self._wakes.wait(PULSE_EVERY_S)
            self._wakes.clear()
        self._pulse()

    def _pulse(self) -> Orders:
        """Send what is new. It is kept until the monitor has it, which knows again what came twice."""
        with self._lock:
            told = tuple(self._told)
        try:
            orders: Orders = ray.get(self._monitor.pulse.remote(self._vitals.pulse(), told), timeout=ANSWER_TIMEOUT_S)
        except (RayError, OSError, RuntimeError) as error:  # training goes on without being seen
            self._complain(error)
            return Orders()
        with self._lock:
            for _ in told:
                self._told.popleft()
        return orders

    def _obey(self, orders: Orders) -> None:
        if orders.leave:
            self._notices.leave(orders.leave)
        if orders.send_stack:
            self._monitor.stack.remote(self._vitals.me.rank, self._vitals.stack())
        if orders.die:
            # Whoever stands in an exchange that never ends cannot be made to raise.
            logger.error("ending this process: %s", orders.die)
            os.kill(os.getpid(), signal.SIGKILL)

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = time.monotonic()
            logger.warning("cannot reach the training's monitor: %s", error)
