"""A search of 40 trials on digits whose driver is killed three times and whose nodes are drained twice, beside one that
nobody touches. Run by test_search_storm.py in a process of its own: `python -m tests.journeys.search_storm FOLDER`.
Prints one JSON object.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster.drill.surroundings import surroundings
from tests.journeys.commands import MANTA, ROOT

if TYPE_CHECKING:
    from cluster.drill.machines import Machines

TRIALS = 40
CONFIG: dict[str, Any] = {
    "data": {"source": "sklearn:digits", "target": "target"},
    "model": {"kind": "mlp", "hidden": [64, 64]},
    # Small batches make trials last: 40 of them must not end before the last kill.
    "train": {"epochs": 27, "global_batch_size": 2, "checkpoint": {"max_interval_s": 1.0}},
    "search": {
        "trials": TRIALS,
        "fuse": False,
        "scheduler": {"kind": "asha", "grace": 1},
        "space": {"train.peak_lr": {"log": [1.0e-4, 3.0e-2]}, "model.dropout": {"range": [0.0, 0.5]}},
    },
}
EVENTS = ("driver", "drain", "driver", "drain", "driver")
TIMEOUT_S = 240.0


def trials(folder: Path, name: str) -> list[dict[str, Any]]:
    """Trials that have ended, as the journal has them."""
    journal = folder / "runs" / name / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == "trial"]


def start(folder: Path, name: str, address: str) -> "subprocess.Popen[str]":
    """The driver: always the same command."""
    command = [*MANTA, "tune", f"{name}.yaml", "--address", address, "--json"]
    there = os.environ | {"PYTHONPATH": str(ROOT)}  # with the cluster's token
    return subprocess.Popen(command, cwd=folder, env=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, name: str, count: int, driver: "subprocess.Popen[str]") -> None:
    """Until so many trials have ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while len(trials(folder, name)) < count:
        if driver.poll() is not None:
            raise RuntimeError(f"the driver ended: {driver.communicate()[1]}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {len(trials(folder, name))} of {count} trials ended in {TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def storm(folder: Path, there: "Machines") -> list[str]:
    """Kills and drains; what happened, in order."""
    told = []
    driver = start(folder, "storm", there.address)
    for number, what in enumerate(EVENTS):
        wait_for(folder, "storm", 6 * (number + 1), driver)
        if what == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.communicate()
            told.append(f"driver killed after {len(trials(folder, 'storm'))} trials")
            driver = start(folder, "storm", there.address)
        else:
            there.add()
            there.notify(there.node_ids[0], notice_s=60)
            told.append(f"node drained after {len(trials(folder, 'storm'))} trials")
            time.sleep(8)  # its slot leaves, and another one begins where there is room
            there.kill(there.node_ids[0])
    said = driver.communicate(timeout=TIMEOUT_S)
    if driver.returncode != 0:
        raise RuntimeError(said[1])
    return [*told, f"ended: {json.loads(said[0])['ended']}", *[line for line in said[1].splitlines() if "slot" in line]]


def main() -> None:
    """Both searches, each on two nodes of one CPU."""
    folder = Path(sys.argv[1])
    for name in ("calm", "storm"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **CONFIG}))
    with surroundings(verbose=False):
        from cluster.drill.machines import machines  # Ray reads its surroundings when it is imported

        with machines(2, 1, verbose=False) as there:
            sys.stdout.write(json.dumps(both(folder, there)))


def both(folder: Path, there: "Machines") -> dict[str, Any]:
    """What happened, and how long each took."""
    began = time.monotonic()
    calm = start(folder, "calm", there.address)
    _, said = calm.communicate(timeout=TIMEOUT_S)
    if calm.returncode != 0:
        raise RuntimeError(said)
    calm_s, began = time.monotonic() - began, time.monotonic()
    told = storm(folder, there)
    return {"told": told, "calm_s": round(calm_s, 1), "storm_s": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    main()
