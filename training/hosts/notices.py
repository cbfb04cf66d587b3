"""Why a training has to leave: one flag that anybody may raise and that each boundary reads."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
SIGNALS = {signal.SIGINT: "stopped by hand", signal.SIGTERM: "told to end (SIGTERM)"}


class Notices:
    """Raised from any thread. To read it costs tens of nanoseconds."""

    def __init__(self) -> None:
        self._raised = threading.Event()
        self.reason = ""

    @property
    def is_raised(self) -> bool:
        """Whether to leave at the next boundary."""
        return self._raised.is_set()

    def leave(self, reason: str) -> None:
        """Leave; the first reason stays."""
        self.reason = self.reason or reason
        self._raised.set()

    def wait(self, timeout_s: float) -> bool:
        """Until it is raised, or the time is over; whether it is raised."""
        return self._raised.wait(timeout_s)


class Signals:
    """SIGINT and SIGTERM for the length of a `with` block: the first raises a notice, a second does not wait."""

    def __init__(self, notices: Notices, told: Callable[[str], None]) -> None:
        self._notices, self._told = notices, told
        self._before: dict[int, Any] = {}
        self.number: int | None = None
        self.cannot_wait: Callable[[], bool] = lambda: False  # no boundary comes soon, and what could be saved is

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handlers are set in the main thread alone; in another one no signal arrives anyway."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """The handlers as they were."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """What the signal would have done at once. Returns only where none came."""
        if self.number is None:
            return
        handler = self._before.get(self.number, signal.getsignal(self.number))
        self.restore()
        if callable(handler):
            handler(self.number, None)
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(SIGTERM_EXIT_CODE)  # the default would end the process before any `finally`

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        is_first = self.number is None
        self.number = number
        if not is_first:
            self.pass_on()
        self._notices.leave(SIGNALS[signal.Signals(number)])
        if self.cannot_wait():
            self.pass_on()
        self._told(f"{SIGNALS[signal.Signals(number)]}: saving at the next step; again to stop at once")
