"""Writers that are killed: `python killed_writer.py FOLDER`. Writes one JSON object to stdout.

This process has torch loaded and forks each writer, so that a kill costs no second of imports. A writer says through a
pipe which step it has made safe; whoever kills it then looks for the newest intact checkpoint.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import IO

import torch

from tests.training.checkpoint.made import made, place, same
from training.checkpoint.saver import Saver
from training.checkpoint.staging import UNLOCKED_DEAD_S
from training.checkpoint.store import CheckpointStore

NUM_KILLS = 10


def write_until_killed(folder: Path, first_step: int, safe: IO[str]) -> None:
    def told(event: str, facts: dict[str, object]) -> None:
        if event == "checkpoint_saved":
            safe.write(f"{facts['step']}\n")
            safe.flush()

    saver = Saver(CheckpointStore(str(folder)), keep=2, keep_mb=None, on_event=told)
    for step in range(first_step, 1_000_000):
        saver.save(made(step, best_epoch=1 + step // 3, width=200), place(step), wait=step % 2 == 0)


def one_kill(folder: Path, first_step: int, after_s: float) -> tuple[int, bool]:
    """The last step known to be safe, and whether the writer died amid its work."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as safe:
            write_until_killed(folder, first_step, safe)
    os.close(writing)
    with os.fdopen(reading) as safe:
        last = safe.readline()  # it is at work
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        last = (safe.read().rpartition("\n")[0].splitlines() or [last])[-1]
    assert os.WTERMSIG(status) == signal.SIGKILL
    return int(last), any(folder.rglob(".lock"))


def age_unlocked(folder: Path) -> None:
    """Let a minute pass for folders whose writer died between making and locking them: only age tells those."""
    for empty in (path for path in folder.rglob(".*.*") if path.is_dir() and not any(path.iterdir())):
        then_s = time.time() - 2 * UNLOCKED_DEAD_S
        os.utime(empty, (then_s, then_s))


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # a fork has no threads of OpenMP
    random.seed(7)
    step, num_amid, steps = 0, 0, []
    for _ in range(NUM_KILLS):
        safe, was_amid = one_kill(folder, step + 1, random.uniform(0, 0.08))
        num_amid += was_amid
        store = CheckpointStore(str(folder))
        found = store.newest_intact()
        assert found is not None
        saved, checkpoint = found
        assert same(checkpoint, made(saved.step, best_epoch=1 + saved.step // 3, width=200)), saved
        assert saved.step >= safe, (saved, safe)
        assert store.skipped == []
        step = saved.step
        steps.append(step)
    age_unlocked(folder)
    store = CheckpointStore(str(folder))
    store.write(made(step + 1), place(step + 1))
    store.tidy(keep=2, keep_mb=None)
    left = [path.name for path in (*folder.glob(".*"), *(folder / "best").glob(".*"))]
    json.dump({"steps": steps, "num_amid": num_amid, "left": left}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
