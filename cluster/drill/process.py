"""The process that drives a training, started, killed, and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cluster

TAIL_LINES = 12


class Driver:
    """A driver of one training. It may be started again and again."""

    def __init__(self, order: Path, log: Path) -> None:
        # -P: without the folder we stand in, where a folder `cluster` would be taken for ours.
        self._command = [sys.executable, "-P", "-m", "cluster.drill.driver", str(order)]
        self._log = log
        self._output = log.with_suffix(".json")
        self._process: subprocess.Popen[bytes] | None = None
        self.starts: list[float] = []

    def start(self, address: str) -> None:
        """Train, or go on, on this cluster. What it says goes to the log."""
        root = str(Path(str(cluster.__file__)).parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._log.open("ab") as log, self._output.open("wb") as output:
            self.starts.append(time.time())
            self._process = subprocess.Popen(
                [*self._command, address],
                stdout=output,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # so that all of it can be killed, and Ctrl-C reaches us alone
            )

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None and self.is_running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])
