"""A worker's state as it trains, written by the training thread and read by the one that tells it."""

import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from training.hosts.pulse import Phase, Pulse
from training.session import Gauges, Place

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MB = 1e6


@dataclass
class Vitals:
    """What changes at each boundary. Only plain attributes are set in the step's path."""

    me: Pulse  # rank, node and process
    num_samples: int  # of one epoch
    phase: Phase = "start"
    place: Place = field(default_factory=lambda: Place(0, 0, 0))
    boundaries: int = 0
    gauges: Gauges | None = None

    def __post_init__(self) -> None:
        self._thread = threading.get_ident()
        self._last = (time.perf_counter(), 0.0, 0.0)  # time, samples since the beginning, seconds waited

    def passed(self, place: Place, gauges: Gauges) -> None:
        """A boundary: a step, or a piece of an evaluation."""
        self.phase = "evaluate" if place == self.place else "train"
        self.place, self.gauges = place, gauges
        self.boundaries += 1

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """A phase in which no boundary is passed."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    def pulse(self, clock: Callable[[], float] = time.perf_counter) -> Pulse:
        """Now. Rates are over the time since the pulse before. To be called from one thread alone."""
        place, gauges, now = self.place, self.gauges, clock()
        consumed = float(place.epoch * self.num_samples + place.samples)
        waited = gauges.wait_s if gauges else 0.0
        then, consumed_then, waited_then = self._last
        self._last, seconds = (now, consumed, waited), max(now - then, 1e-9)
        is_first = consumed_then == 0.0 or consumed < consumed_then  # a restored place is no speed
        rate = 0.0 if is_first else (consumed - consumed_then) / seconds
        flops_per_s = rate * gauges.flops_per_sample if gauges and gauges.flops_per_sample else None
        peak = gauges.peak_flops_per_s * self.me.world_size if gauges else 0.0
        return replace(
            self.me, boundaries=self.boundaries, step=place.step, epoch=place.epoch, samples=place.samples,
            samples_per_s=rate, wait_fraction=min(max(waited - waited_then, 0.0) / seconds, 1.0), loss=self._loss(),
            phase=self.phase, memory_mb=memory_mb(), gpu_memory_mb=gpu_memory_mb(),
            flops_per_s=flops_per_s, mfu=flops_per_s / peak if flops_per_s and peak else None,
            lr=gauges.lr if gauges else None,
        )  # fmt: skip

    def _loss(self) -> float | None:
        """Waits for the device in the thread that tells, not in the one that trains. A graph that is being captured
        would not bear it."""
        loss = self.gauges.loss if self.gauges else None
        return None if loss is None or self.phase == "compile" else float(loss)

    def stack(self) -> list[str]:
        """Where the training thread is now, outermost first, as `file:line in function`."""
        frame = sys._current_frames().get(self._thread)
        return [] if frame is None else [
            f"{each.filename}:{each.lineno} in {each.name}" for each in traceback.extract_stack(frame)
        ]  # fmt: skip


def memory_mb() -> float:
    """Resident memory of this process; where the system does not say, the most it ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * PAGE_BYTES / MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB  # bytes on macOS, the one without /proc


def private_memory_mb() -> float:
    """The same without what it shares: a table in Ray's object store is mapped into every process that reads it."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return memory_mb()
    resident, shared = statm.read_text().split()[1:3]
    return (int(resident) - int(shared)) * PAGE_BYTES / MB


def process_age_s() -> float:
    """Since this process was started; 0 where the system does not say."""
    stat, uptime = Path("/proc/self/stat"), Path("/proc/uptime")
    if not (stat.exists() and uptime.exists()):
        return 0.0
    started_ticks = int(stat.read_text().rpartition(")")[2].split()[19])  # the name before it may hold anything
    return max(0.0, float(uptime.read_text().split()[0]) - started_ticks / os.sysconf("SC_CLK_TCK"))


def gpu_memory_mb() -> float | None:
    """Held by torch on the current GPU; None without one."""
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.memory_reserved() / MB
