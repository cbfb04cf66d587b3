"""How a training goes, in words of one line. Text only: where it is shown is the console's business."""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from training.metric_names import METRIC_MODES, is_better
from training.progress import Live

PACE_WINDOW_S = 60.0  # the pace is of this long, or of two epochs where they take longer
GAP = "  "


@dataclass(frozen=True)
class Part:
    """A piece of a line. The one of the highest rank goes first where the line is too long."""

    text: str
    rank: int


def fitted(parts: Sequence[Part], width: int) -> str:
    """The parts that fit into so many columns, in their order; the first one is cut where nothing else is left."""
    left = [part for part in parts if part.text]
    while len(left) > 1 and len(GAP.join(part.text for part in left)) > width:
        left.remove(max(left, key=lambda part: part.rank))
    return GAP.join(part.text for part in left)[:width]


class Pace:
    """Steps a second, lately. Start-up does not count: it is over when the first step is seen."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()  # when, epoch, step

    def add(self, epoch: int, step: int) -> None:
        """A step that was made. One before the last begins anew: the training went back."""
        now = time.monotonic()
        if self._seen and step < self._seen[-1][2]:
            self._seen.clear()
        if self._seen and now - self._seen[-1][0] < 0.5:
            return
        self._seen.append((now, epoch, step))
        while len(self._seen) > 2 and now - self._seen[1][0] > PACE_WINDOW_S and epoch - self._seen[1][1] >= 2:
            self._seen.popleft()

    def seconds_for(self, num_steps: int) -> float | None:
        """How long so many steps will take; None while nothing is known."""
        if len(self._seen) < 2:
            return None
        (began, _, first), (ended, _, last) = self._seen[0], self._seen[-1]
        return (ended - began) / (last - first) * num_steps if last > first else None


@dataclass
class TrainingText:
    """Remembers what a training said, and words it."""

    live: Live | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the last epoch
    epoch: int = 0  # the last that ended
    num_epochs: int = 0
    best: float | None = None
    pace: Pace = field(default_factory=Pace)

    def hear(self, live: Live) -> None:
        """What is going on right now."""
        self.live, self.num_epochs = live, live.num_epochs
        if live.phase == "train":
            self.pace.add(live.epoch, live.step)
        if live.score is not None:
            self._remember(live.score[0], live.score[1])
        if live.best is not None:
            self.best = live.best

    def hear_epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """An epoch ended."""
        self.epoch, self.num_epochs, self.metrics = epoch, num_epochs, metrics
        if (score := deciding(metrics)) is not None:
            self._remember(*score)

    def _remember(self, name: str, score: float) -> None:
        if is_better(score, self.best, METRIC_MODES.get(_plain(name), "max")):
            self.best = score

    @property
    def done_fraction(self) -> float:
        """Of all epochs, those that early stopping may save included."""
        if self.live is not None and self.live.num_steps:
            return min(1.0, self.live.step / self.live.num_steps)
        return self.epoch / self.num_epochs if self.num_epochs else 0.0

    def where(self, left: str = "") -> list[Part]:
        """Where it stands: beside the bar. `left` is the time left where no pulse tells it."""
        live = self.live
        if live is None:
            return [Part(f"epoch {self.epoch}/{self.num_epochs}", 0), Part(left, 1)]
        step = f"step {live.step:,}/{live.num_steps:,}" if live.num_steps else f"step {live.step:,}"
        workers = f"{live.num_workers} workers" if live.num_workers > 1 else ""
        return [
            Part(f"epoch {live.epoch}/{live.num_epochs}", 0), Part(_phase(live), 2), Part(step, 4), Part(workers, 3),
            Part(self.left() or left, 1),
        ]  # fmt: skip

    def left(self) -> str:
        """Time left. Early stopping may end it sooner, so it is the most it takes."""
        live = self.live
        if live is None or live.phase.startswith("wait"):
            return ""
        seconds = self.pace.seconds_for(live.num_steps - live.step)
        return f"at most {rough(seconds)} left" if seconds is not None and live.step < live.num_steps else ""

    def numbers(self) -> list[Part]:
        """How it goes: the most important first."""
        live = self.live
        loss = live.loss if live is not None and live.loss is not None else self.metrics.get("train/loss")
        score = deciding(self.metrics) or (live.score if live is not None else None)
        parts = [Part(_loss(loss), 0), *self._score(score)]
        return parts + _machine(live) if live is not None else parts

    def epoch_line(self, left: str = "") -> list[Part]:
        """An epoch that ended, in one line of a log; no time is left after the last one."""
        loss = self.metrics.get("train/loss")
        return [
            Part(f"epoch {self.epoch}/{self.num_epochs}", 0), Part(_loss(loss), 1),
            *self._score(deciding(self.metrics)), *(_machine(self.live) if self.live is not None else ()),
            Part(left, 2),
        ]  # fmt: skip

    def live_line(self) -> list[Part]:
        """Where a long epoch stands, in one line of a log."""
        epoch, *where, left = self.where()
        return [epoch, *where, *self.numbers(), left]

    def _score(self, score: tuple[str, float] | None) -> list[Part]:
        if score is None:
            return []
        name, value = score
        best = f"(best {self.best:.4f})" if self.best is not None and value != self.best else "(best)"
        return [Part(f"{_plain(name)} {value:.4f}", 1), Part(best if math.isfinite(value) else "", 3)]


def deciding(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """The score that decides: hosts give it first of the validation scores."""
    return next(((name, value) for name, value in metrics.items() if name.startswith("validation/")), None)


def rough(seconds: float) -> str:
    """Time left, no finer than it is known: 40 s, 3 min, 2 h 10 min."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def amount(value: float) -> str:
    """Three digits: 950, 12.3k, 4.56M."""
    for limit, divisor, unit in ((999.5, 1.0, ""), (999.5e3, 1e3, "k"), (999.5e6, 1e6, "M"), (math.inf, 1e9, "G")):
        if value < limit:
            scaled = value / divisor
            digits = 0 if scaled >= 99.95 or not unit else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f}{unit}"
    return str(value)


def _machine(live: Live) -> list[Part]:
    """On GPUs their memory counts, elsewhere that of the process."""
    if live.phase.startswith("wait"):
        return []
    is_known = live.samples_per_s > 0  # not before the second pulse, and not in an evaluation
    gpu = live.gpu_memory_mb
    memory = "" if live.memory_mb is None or gpu is not None else f"{live.memory_mb / 1e3:.1f} GB"
    return [
        Part(f"{amount(live.samples_per_s)} samples/s" if is_known else "", 3),
        Part(f"wait {live.wait_fraction:.0%}" if is_known or live.wait_fraction > 0 else "", 4),
        Part("" if gpu is None else f"GPU {gpu / 1e3:.1f} GB", 6),
        Part("" if live.mfu is None else f"MFU {live.mfu:.0%}", 5), Part(memory, 7),
    ]  # fmt: skip


def _loss(loss: float | None) -> str:
    if loss is None:
        return ""
    return f"loss {loss:.1e}" if 0 < abs(loss) < 1e-3 else f"loss {loss:.4f}"


def _phase(live: Live) -> str:
    return "" if live.phase == "train" else live.phase


def _plain(name: str) -> str:
    return name.rpartition("/")[2]
