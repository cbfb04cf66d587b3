"""Ctrl-C and SIGTERM during a search, which Ray may swallow: asked for again where nothing can."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ray.tune import Stopper

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts(Stopper):
    """Hears signals for the length of a `with` block; Tune asks it between any two of its steps.

    An exception that a handler raises while Ray's C++ code calls back into Python is lost, and the search would go on
    (seen once, on a busy machine).
    """

    def __init__(self) -> None:
        self._heard: int | None = None
        self._before: dict[int, Any] = {}

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handlers are set in the main thread alone; in another one no signal arrives anyway."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {number: signal.getsignal(number) for number in NUMBERS}
        for number, handler in self._before.items():
            if callable(handler):
                signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial ends for it."""
        return False

    def stop_all(self) -> bool:
        """Do again what the signal's handler does. Raises KeyboardInterrupt or SystemExit where one came."""
        if self._heard is not None:
            self._before[self._heard](self._heard, None)
        return False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._heard = number
        self._before[number](number, frame)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its settings to restore from; we do not
