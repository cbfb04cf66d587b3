"""Decoded windows, and who decodes them: a thread of this process, or a feeder that serves all workers of a run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.data.stream.plan import WindowPlan


@dataclass(frozen=True)
class Window:
    """The training rows of a window, in reading order."""

    tensors: dict[str, np.ndarray]  # by name, (N, ...), in the model's order
    target: np.ndarray  # (N,)
    row_ids: np.ndarray  # (N,) int64, number of each row in the whole table


class Coming(Protocol):
    """A window that was asked for."""

    def result(self) -> Window:
        """Wait for it."""


class Feeder(Protocol):
    """Gives the windows of a stream."""

    def request(self, plan: WindowPlan) -> Coming:
        """Begin to decode a window, unless that was done. Whoever asks lets go of the window before the last."""


class ThreadFeeder:
    """Decodes in the background of this process: tests, benchmarks, and the trials of a search."""

    def __init__(self, decode: Callable[[WindowPlan], Window]) -> None:
        self._decode = decode
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="window")

    def request(self, plan: WindowPlan) -> Coming:
        """Begin to decode a window."""
        return self._thread.submit(self._decode, plan)
