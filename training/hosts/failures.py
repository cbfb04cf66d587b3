"""When to try again, and when to stop. Pure: it is told what failed and what was saved."""

from dataclasses import dataclass
from typing import Literal

from training.hosts.root_cause import Cause

Kind = Literal["left", "machine", "crash", "hang", "error", "start"]
COUNTS: tuple[Kind, ...] = ("crash", "hang", "error", "start")  # a machine that went is nobody's fault


@dataclass(frozen=True)
class Failure:
    """Why a group of workers ended."""

    kind: Kind
    line: str  # the root cause
    num_workers: int
    cause: Cause | None = None  # of an error that was raised
    hint: str = ""


@dataclass(frozen=True)
class Stop:
    """Do not try again."""

    message: str
    hint: str


class Budget:
    """Counts crashes in a row without a new checkpoint between them."""

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self.num_crashes = 0
        self._saved_step = -1
        self._signature: tuple[str, str, str, int] | None = None

    def saved(self, step: int) -> None:
        """A checkpoint is safe; only one that is further on is progress."""
        if step > self._saved_step:
            self._saved_step, self.num_crashes = step, 0

    def resumed_at(self, step: int) -> None:
        """A training goes on from here: what counts as progress lies beyond it, also after it was set back."""
        self._saved_step = step

    def judge(self, failure: Failure) -> Stop | None:
        """None to try again."""
        cause = failure.cause
        if failure.kind not in COUNTS:
            return None
        if cause is not None and cause.is_users:
            return Stop(cause.message, cause.hint)
        if cause is not None and failure.num_workers == 1:
            return Stop(failure.line, failure.hint)
        if cause is not None and cause.signature == self._signature:
            return Stop(f"{failure.line} (the same at step {cause.step} again: it always will)", failure.hint)
        self._signature = cause.signature if cause is not None else None
        self.num_crashes += 1
        if self.num_crashes <= self._max_failures:
            return None
        times = "" if self.num_crashes == 1 else f" ({self.num_crashes} crashes without a new checkpoint between them)"
        return Stop(f"{failure.line}{times}", failure.hint)
