"""Signals as notices, in real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from training.hosts.notices import Notices, Signals

WAITS = """
import sys, time
from training.hosts.notices import Notices, Signals
notices = Notices()
signals = Signals(notices, lambda text: print(text, flush=True))
try:
    with signals.caught():
        print("ready", flush=True)
        while not (notices.is_raised and sys.argv[1] == "obeys"):
            time.sleep(0.01)
        print("saved", flush=True)
    signals.pass_on()
finally:
    print("cleaned up", flush=True)
"""


def begin(manner: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WAITS, manner], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_has_its_effect_after_the_save(number: signal.Signals, code: int) -> None:
    process = begin("obeys")
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert out.splitlines()[1:] == ["saved", "cleaned up"]
    assert process.returncode in (code, 1 if code < 0 else code)


def test_a_second_signal_does_not_wait() -> None:
    process = begin("hangs")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert "saving at the next step" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert out == "cleaned up\n"
    assert process.returncode == 143


def test_handlers_come_back_and_the_first_reason_stays() -> None:
    before = signal.getsignal(signal.SIGTERM)
    notices = Notices()
    signals = Signals(notices, lambda _: None)
    with signals.caught():
        os.kill(os.getpid(), signal.SIGTERM)
        while not notices.is_raised:
            time.sleep(0.01)
        notices.leave("drain")
    assert signal.getsignal(signal.SIGTERM) == before
    assert notices.reason == "told to end (SIGTERM)"
    with pytest.raises(SystemExit):
        signals.pass_on()
