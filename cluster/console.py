"""What people see: data on stdout, talk on stderr; a live line where there is a terminal, plain lines elsewhere."""

import json
import sys
import time
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from training.package.errors import UserError
from training.progress import TrialDone

MAX_EPOCH_LINES = 25  # of a training without a terminal; a job's log is read by people
NAME_WIDTH = 9


class Level(IntEnum):
    """How much is said."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Console:
    """Prints for one command. It is the `Progress` of long work."""

    def __init__(self, level: Level = Level.NORMAL) -> None:
        self.level = level
        self._rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._counted = Countdown()

    def __reduce__(self) -> tuple[type["Console"], tuple[Level]]:
        """Ray pickles callbacks, and with them their console: a copy starts without a live line."""
        return Console, (self.level,)

    @property
    def is_verbose(self) -> bool:
        """True when Ray may speak and errors show where they come from."""
        return self.level >= Level.VERBOSE

    def data(self, value: Any) -> None:
        """What was asked for, on stdout: text as it is, anything else as JSON."""
        text = value if isinstance(value, str) else json.dumps(value, indent=2, default=str, ensure_ascii=False)
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()

    def talk(self, text: str, style: str = "") -> None:
        """One line on stderr; nothing with -q."""
        if self.level > Level.QUIET:
            self._rich.print(text, style=style, markup=False)

    def error(self, error: UserError) -> None:
        """An error, also with -q."""
        self._rich.print(f"[bold red]error:[/] {_escaped(str(error.message))}")
        if error.hint:
            self._rich.print(f"[cyan]hint:[/] {_escaped(error.hint)}")

    def traceback(self) -> None:
        """Where the exception in hand comes from."""
        self._rich.print_exception()

    def stage(self, name: str, detail: str = "") -> None:
        """A stage of the run begins."""
        self.close()
        self._counted = Countdown()
        self.talk(f"{name:<{NAME_WIDTH}} {detail}".rstrip(), style="bold")

    def note(self, text: str) -> None:
        """Something a person should know."""
        self.talk(f"{'':<{NAME_WIDTH}} {text}")

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """An epoch of the final training ended."""
        left = self._counted.left(epoch, num_epochs)
        scores = "  ".join(f"{name} {value:.4f}" for name, value in _worth_showing(metrics).items())
        every = max(1, num_epochs // MAX_EPOCH_LINES)
        is_shown = epoch % every == 0 or epoch in (1, num_epochs)
        self._advance(epoch, num_epochs, f"epoch {epoch}/{num_epochs}  {scores}  {left}", is_shown)

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """A trial of the search ended."""
        left = self._counted.left(num_done, num_trials)
        score = "-" if done.score is None else f"{done.score:.4f}"
        best = "-" if best_score is None else f"{best_score:.4f}"
        params = " ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in done.params.items())
        state = done.cause or f"after {done.epochs} epochs" if done.state == "failed" else f"{done.epochs} epochs"
        line = f"trial {done.trial} {done.state:<8} {score:>7}  best {best}  {num_done}/{num_trials}  {left}"
        self._advance(num_done, num_trials, f"{line}  [{state}; {params}]", is_shown=True)

    def step(self, done: float, total: float, text: str) -> None:
        """A piece of a stage ended."""
        self._advance(done, total, f"{text}  {self._counted.left(done, total)}".rstrip(), is_shown=True)

    def _advance(self, done: float, total: float, line: str, is_shown: bool) -> None:
        if self.level == Level.QUIET:
            return
        if not self._rich.is_terminal:
            if is_shown:
                self.talk(f"{'':<{NAME_WIDTH}} {line}")
            return
        if self._live is None:
            columns = (TextColumn(" " * NAME_WIDTH), BarColumn(24), TextColumn("{task.description}", markup=False))
            self._live = Progress(*columns, TimeElapsedColumn(), console=self._rich, transient=True)
            self._live.start()
            self._task = self._live.add_task("", total=total)
        if self._task is not None:
            self._live.update(self._task, completed=done, total=total, description=line)
        if done >= total:
            self.close()
            self.talk(f"{'':<{NAME_WIDTH}} {line}")

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live, self._task = None, None


class Countdown:
    """Time left, from the pace since the first one was done: what came before it was mostly start-up."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, done: float, total: float) -> str:
        """In words; empty when nothing is left or nothing is known."""
        if self._first is None:
            self._first = (time.monotonic(), done)
        began, done_then = self._first
        if not done_then < done < total:
            return ""
        seconds = (time.monotonic() - began) / (done - done_then) * (total - done)
        return f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table_lines(rows: list[list[str]]) -> list[str]:
    """Rows with their columns aligned; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _worth_showing(metrics: Mapping[str, float]) -> dict[str, float]:
    first = [name for name in ("train/loss", "validation/loss") if name in metrics]
    scores = [name for name in metrics if name.startswith("validation/") and name not in first]
    return {name: metrics[name] for name in [*first, *scores[:1]]}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace(" ", "")


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
