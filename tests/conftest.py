"""Fixtures that several rooms share. Each is named for the machine it gives."""

import os
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Tests must not reach a cluster that the person at the keyboard works on."""
    names = [name for name in os.environ if name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH")]
    kept = {name: os.environ.pop(name) for name in names}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts background jobs with SIGINT ignored, and every process that a test interrupts would inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_2_cpus() -> Iterator[None]:
    """A real Ray with two CPUs on this machine, started once. Tests share it, so each names its own runs."""
    from cluster.session import connect  # Ray loads only for tests that need it

    with connect("local", num_cpus=2):
        yield
