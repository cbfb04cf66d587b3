"""What signals do to a process that has a Ray to take down."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM


def exit_on_sigterm(_number: int, _frame: FrameType | None) -> None:
    """A handler. An exception, not os._exit: the `finally` blocks must run."""
    sys.exit(SIGTERM_EXIT_CODE)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A second Ctrl-C while we clean up would leave processes behind: it is ignored for these seconds."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    except ValueError:  # not the main thread, which gets no signals: a notebook's worker
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
