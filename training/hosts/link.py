"""From a worker to the monitor, and its orders back. Nothing of it is in the step's path."""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from training.hosts.monitor import Orders
from training.hosts.notices import Notices
from training.hosts.vitals import Vitals

logger = logging.getLogger(__name__)
PULSE_EVERY_S = 1.0
ANSWER_TIMEOUT_S = 10.0
COMPLAIN_EVERY_S = 60.0


class Link:
    """A worker's channel: what it tells is sent off at once and not waited for; a thread sends pulses."""

    def __init__(self, monitor: Any, vitals: Vitals, notices: Notices) -> None:
        self._monitor, self._vitals, self._notices = monitor, vitals, notices
        self._wakes = threading.Event()
        self._ends = False
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
        self._monitor.epoch.remote(dict(metrics))

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something for the run's record."""
        self._monitor.tell.remote(event, dict(facts))

    def saved(self, step: int, cost_s: float, num_bytes: int) -> None:
        """A checkpoint is safe."""
        self._monitor.saved.remote(step, cost_s, num_bytes)

    def restored(self, step: int, epoch: int, history: Sequence[Mapping[str, float]], name: str | None) -> None:
        """Where this group goes on; waited for, so that it is known before anything that follows."""
        ray.get(self._monitor.restored.remote(step, epoch, list(history), name), timeout=ANSWER_TIMEOUT_S)

    def _beat(self) -> None:
        while not self._ends:
            try:
                self._obey(ray.get(self._monitor.pulse.remote(self._vitals.pulse()), timeout=ANSWER_TIMEOUT_S))
            except (RayError, OSError, RuntimeError) as error:  # training goes on without being seen
                self._complain(error)
            self._wakes.wait(PULSE_EVERY_S)
            self._wakes.clear()
        self._last_pulse()

    def _last_pulse(self) -> None:
        try:
            ray.get(self._monitor.pulse.remote(self._vitals.pulse()), timeout=ANSWER_TIMEOUT_S)
        except (RayError, OSError, RuntimeError) as error:
            self._complain(error)

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
