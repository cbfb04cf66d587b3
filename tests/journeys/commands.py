"""Run `manta` as a person does: a process of its own, its streams apart, and see what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

MANTA = [sys.executable, "-m", "cluster"]
PII_KEY = "a key that only these tests have"
ROOT = Path(__file__).resolve().parents[2]


def environment(mark: str = "") -> dict[str, str]:
    """A person's environment: none of the tests' Ray, and a mark that every process started from here inherits."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"PYTHONPATH": str(ROOT), "MANTA_TEST_MARK": mark, "MANTA_PII_KEY": PII_KEY}


def manta(*arguments: object, cwd: Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    command = [*MANTA, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def processes_of(mark: str) -> dict[int, str]:
    """The living processes that carry the mark: command lines by process id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            carries = f"MANTA_TEST_MARK={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()  # a zombie has none
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked
        if carries and command:
            found[int(process.name)] = command.replace(b"\0", b" ").decode()[:150]
    return found
