"""A Ctrl-C that something swallows is not lost."""

import contextlib
import os
import signal
import time

import pytest

from training.search.interrupts import Interrupts


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_what_a_handler_raised_in_vain_is_raised_again(number: signal.Signals, raised: type[BaseException]) -> None:
    before = signal.getsignal(number)

    def ends(*_: object) -> None:
        raise raised

    signal.signal(number, ends)
    try:
        interrupts = Interrupts()
        with interrupts.caught():
            assert interrupts.stop_all() is False
            with contextlib.suppress(raised):  # as Ray's C++ code does
                os.kill(os.getpid(), number)
                time.sleep(1.0)
                pytest.fail("no signal came")
            with pytest.raises(raised):
                interrupts.stop_all()
        assert signal.getsignal(number) is ends
    finally:
        signal.signal(number, before)


def test_a_handler_that_ignores_is_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts().caught():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
