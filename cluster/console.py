"""What people see: data on stdout, talk on stderr; a live line where there is a terminal, plain lines elsewhere."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cluster.training_text import Part, TrainingText, fitted
from cluster.training_view import TrainingView
from training.event_text import counted, event_text
from training.package.errors import UserError
from training.progress import Live, TrialDone

MAX_EPOCH_LINES = 25  # of a training without a terminal; a job's log is read by people
MOST_TRIAL_LINES = 100  # of a search
LIVE_LINE_S = 30.0  # without a terminal: between lines of a long epoch, and more seldom in a training of hours
LOG_WIDTH = 100
NAME_WIDTH = 9
INDENT = NAME_WIDTH + 1


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
        self._training = TrainingText()
        self._view: TrainingView | None = None
        self._has_unsaid_epoch = False
        self._began = self._spoke = time.monotonic()

    def __reduce__(self) -> tuple[type["Console"], tuple[Level]]:
        """Ray pickles callbacks, and with them their console: a copy starts without a live line."""
        return Console, (self.level,)

    @property
    def is_verbose(self) -> bool:
        """True when Ray may speak and errors show where they come from."""
        return self.level >= Level.VERBOSE

    def data(self, value: Any) -> None:
        """What was asked for, on stdout: text as it is, anything else as JSON. Live lines are over by then."""
        self.close()
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
        self._counted, self._training = Countdown(), TrainingText()
        self._began = self._spoke = time.monotonic()
        self.talk(f"{name:<{NAME_WIDTH}} {detail}".rstrip(), style="bold")

    def note(self, text: str) -> None:
        """Something a person should know."""
        self.talk(f"{'':<{NAME_WIDTH}} {text}")

    def event(self, event: Mapping[str, Any]) -> None:
        """Something of the run's journal, where there are words for it."""
        if text := event_text(event):
            self.note(text)

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """An epoch of the final training ended."""
        self._training.hear_epoch(epoch, num_epochs, metrics)
        left = self._counted.left(epoch, num_epochs, "at most")  # early stopping may end it sooner
        is_shown = epoch % -(-num_epochs // MAX_EPOCH_LINES) == 0 or epoch == 1
        self._has_unsaid_epoch = self._shows_live or not is_shown or epoch >= num_epochs
        if self._shows_live:
            self._view_of_training().left = left
        elif not self._has_unsaid_epoch:
            self._say(self._training.epoch_line(self._training.left() or left))
        self._spoke = time.monotonic()
        if epoch >= num_epochs:
            self.close()

    def live(self, live: Live) -> None:
        """How the final training goes, about once a second."""
        if self._training.epoch >= live.num_epochs and not self._has_unsaid_epoch:
            return  # it ended, and a line of it would only flash
        self._training.hear(live)
        if self._shows_live:
            self._view_of_training()
            return
        now = time.monotonic()
        if now - self._spoke >= max(LIVE_LINE_S, (now - self._began) / LIVE_LINE_S):
            self._spoke = now
            self._say(self._training.live_line())

    @property
    def _shows_live(self) -> bool:
        return self._rich.is_terminal and self.level > Level.QUIET

    def _view_of_training(self) -> TrainingView:
        if self._view is None:
            self._view = TrainingView(self._rich, self._training, INDENT)
        return self._view

    def _say(self, parts: list[Part]) -> None:
        self.note(fitted(parts, LOG_WIDTH - INDENT))

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """A trial of the search ended."""
        left = self._counted.left(num_done, num_trials)
        score = "-" if done.score is None else f"{done.score:.4f}"
        best = "" if best_score is None else f"best {best_score:.4f}"
        params = " ".join(f"{name}={_short(done.params[key])}" for key, name in short_names(done.params).items())
        epochs = counted(done.epochs, "epoch")
        state = done.cause or f"after {epochs}" if done.state == "failed" else epochs
        parts = (f"trial {done.trial} {done.state:<8} {score:>7}", best, f"{num_done}/{num_trials}", left)
        line = "  ".join(part for part in (*parts, f"[{state}; {params}]") if part)
        # Of a large search a log holds some hundred lines: an even share, what is new, and what went wrong.
        is_even = num_done % -(-num_trials // MOST_TRIAL_LINES) == 0
        is_new = done.score is not None and done.score == best_score
        is_shown = is_even or is_new or done.state == "failed" or num_done == num_trials
        self._advance(num_done, num_trials, line, is_shown=is_shown)

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
        """Take the live line away; how the last epoch of a training ended is said in any case."""
        if self._view is not None:
            self._view.close()
            self._view = None
        if self._has_unsaid_epoch:
            self._has_unsaid_epoch = False
            self._say(self._training.epoch_line())
        if self._live is not None:
            self._live.stop()
            self._live, self._task = None, None


class Countdown:
    """Time left, from the pace since the first one was done: what came before it was mostly start-up."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, done: float, total: float, bound: str = "about") -> str:
        """In words; empty when nothing is left or nothing is known."""
        if self._first is None:
            self._first = (time.monotonic(), done)
        began, done_then = self._first
        if not done_then < done < total:
            return ""
        seconds = (time.monotonic() - began) / (done - done_then) * (total - done)
        return f"{bound} {duration(max(seconds, 1.0))} left"


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


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Each key's last part, with as many parts before it as tell it from the others."""
    known = list(keys)
    names = {}
    for key in known:
        parts = key.split(".")
        tails = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        alone = (tail for tail in tails if sum(f".{other}".endswith(f".{tail}") for other in known) == 1)
        names[key] = next(alone, key)
    return names


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
