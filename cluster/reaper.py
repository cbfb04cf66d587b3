"""Ends what a local Ray leaves behind, also after its driver was killed with SIGKILL.

Ray's own processes end with their driver, but its agents linger for a minute and a just reloaded HAProxy for ever.
Every process of one session carries a mark in its environment; `sweep` ends those that still run. A small process of
its own waits for the driver's end and sweeps then. Linux only: elsewhere there is no /proc, and Ray's reaper stays
the only one. Standard library only, so that it starts in no time.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "MANTA_SESSION"
GRACE_S = 2.0  # between asking a process to end and killing it
PROC = Path("/proc")


# Ray's agents write their title over their environment, and the mark with it.
AGENTS = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")


def start(mark: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start the waiting process. Closing its stdin, as any end of this process does, makes it sweep."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    return subprocess.Popen(
        [sys.executable, __file__, mark, str(os.getpgrp()), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # a Ctrl-C at the terminal must not reach it
    )


def sweep(mark: str, group: int, folder: Path, grace_s: float = GRACE_S) -> int:
    """End every process of the session and return how many were still there. Returns once they are gone.

    Args:
        mark: the session's.
        group: process group of the session's driver, in which Ray starts its agents.
        folder: the session's files, removed at the end.
        grace_s: seconds between asking a process to end and killing it.
    """
    found = list(_left(mark, group))
    _signal(found, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while list(_left(mark, group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(list(_left(mark, group)), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    return len(found)


def _left(mark: str, group: int) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for folder in PROC.glob("[0-9]*"):
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            if wanted in (folder / "environ").read_bytes().split(b"\0") or _is_orphaned_agent(folder, group):
                yield int(folder.name)
        except OSError:
            continue  # it ended while we looked


def _is_orphaned_agent(folder: Path, group: int) -> bool:
    if not (folder / "cmdline").read_bytes().startswith(AGENTS):
        return False
    # "pid (name) state parent group ...": the name may hold blanks, so count from its closing bracket.
    parent, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[1:3]
    return int(its_group) == group and (PROC / parent / "comm").read_text().strip() != "raylet"


def _signal(pids: list[int], which: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            continue  # it ended on its own


if __name__ == "__main__":
    sys.stdin.buffer.read()
    sweep(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
