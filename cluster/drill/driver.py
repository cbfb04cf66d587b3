"""`manta train` in a process of its own that can be killed, and that writes down how far the training is.

Called as `python -m cluster.drill.driver order.json HOST:PORT`; prints the outcome as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from cluster.cli import unforeseen
from cluster.console import Console, Level
from cluster.drill.order import Order
from cluster.drill.watch import LIVE_FILE
from cluster.place import Place
from cluster.train import train
from training.config_file import load_experiment
from training.progress import Live
from training.run_folder import RunFolder


class LiveFile(Console):
    """Talks like a command without a terminal, and keeps the newest step in a file."""

    def __init__(self, level: Level, path: Path) -> None:
        super().__init__(level)
        self._path = path

    def live(self, live: Live) -> None:
        """Whole or not at all, and without waiting for the disk: after a crash nobody needs it."""
        facts: dict[str, Any] = {
            "time": time.time(),
            "step": live.step,
            "phase": live.phase,
            "workers": live.num_workers,
        }
        beside = self._path.with_suffix(".tmp")
        beside.write_text(json.dumps(facts), encoding="utf-8")
        os.replace(beside, self._path)


def main(order_file: str, address: str) -> int:
    """Train, or go on; gives the exit code."""
    order = Order.read(Path(order_file))
    level = Level.VERBOSE if order.verbose else Level.NORMAL
    try:
        experiment = load_experiment(Path(order.config), order.overrides)
        console = LiveFile(level, RunFolder.of(experiment).path / LIVE_FILE)
        outcome = train(experiment, console, Place(address, Path(order.code_folder), order.verbose))
    except Exception as error:
        return unforeseen(error, level)
    console.data(outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
