"""Real slots whose processes are killed, hang and eat memory: who did it ends, the others go on."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.search.playing import Heeding
from training.config import Experiment
from training.data.prepare import prepare
from training.journal import Event
from training.run_folder import RunFolder
from training.search.result import SearchResult
from training.search.search import search
from training.search.slot.actor import Slot

pytestmark = pytest.mark.slow
INTERVAL_S = 1.0
TITLES = (f"ray::{Slot.__name__}".encode(), b"ray::ResourceTrainable")  # of a slot's process, at rest and in a call


def experiment(storage: Path, name: str, model: dict[str, Any], train: dict[str, Any], **more: Any) -> Experiment:
    """One over iris whose checkpoints come every second."""
    train = {"epochs": 6, "global_batch_size": 16, "early_stopping": None, **train}
    train["checkpoint"] = {"max_interval_s": INTERVAL_S}
    return Experiment.model_validate(
        {
            "name": name, "storage": str(storage), "data": {"source": "sklearn:iris", "target": "target"},
            "model": model, "train": train, "search": {"startup_trials": 2, "scheduler": "none", **more},
        }
    )  # fmt: skip


def run(wanted: Experiment) -> tuple[SearchResult, dict[str, Event], list[str]]:
    """What was found, ended trials as the journal has them, and what a person was told."""
    folder, heeding = RunFolder.of(wanted), Heeding()
    folder.open(wanted)
    found = search(wanted, prepare(wanted.data), folder, metric="accuracy", progress=heeding, code_path="")
    events = list(folder.journal.events("trial"))
    named = {event["trial"]: event for event in events}
    assert len(named) == len(events)
    return found, named, heeding.notes


def test_who_kills_hangs_or_eats_ends_and_the_others_go_on(ray_2_cpus: None, tmp_path: Path) -> None:
    """The slow one needs twice the hang's timeout to be built, and in each evaluation: it is no hang."""
    troubles = ["fine", "kills", "hangs", "eats", "slow"]
    wanted = experiment(
        tmp_path, "troubles", {"target": "tests.training.nets:Troubled", "args": {"trouble": "fine"}},
        {"epochs": 2, "hang_timeout_s": 3.0, "global_batch_size": 8},
        trials=10, sampler="grid", fuse=False, max_failures_per_trial=1, memory_mb_per_trial=1500,
        space={"model.args.trouble": {"choice": troubles}, "train.seed": {"choice": [0, 1]}},
    )  # fmt: skip
    found, events, notes = run(wanted)
    causes: dict[str, list[str | None]] = {trouble: [] for trouble in troubles}
    for event in events.values():
        causes[event["params"]["model.args.trouble"]].append(event["cause"])
    assert causes["fine"] == causes["slow"] == [None, None]
    assert causes["kills"] == ["its process died, 2 times"] * 2
    assert all("made no step for " in str(cause) and "nets.py" in str(cause) for cause in causes["hangs"])
    assert all("MB of memory, and a slot may take 1,500" in str(cause) for cause in causes["eats"])
    assert (found.num_complete, found.num_failed) == (4, 6)
    assert any("its process died" in note for note in notes)


def slots(cluster_of: int) -> set[int]:
    """Processes of slots in the Ray that this process started."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            of = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        if command.startswith(TITLES) and of == cluster_of:
            found.add(int(process.name))
    return found


def killing(over: threading.Event, killed: list[int], times: int, after_s: float) -> None:
    """Kill a slot's process again and again, each some time after it came up."""
    earlier = slots(os.getpid())  # of a search that has just ended
    while len(killed) < times and not over.is_set():
        there = slots(os.getpid()) - set(killed) - earlier
        if not there:
            time.sleep(0.1)
            continue
        if over.wait(after_s):
            return
        os.kill(min(there), signal.SIGKILL)
        killed.append(min(there))


@pytest.mark.parametrize(("lanes", "epochs", "kills"), [(1, 300, 2), (2, 400, 1)], ids=["alone", "stacked"])
def test_a_killed_process_costs_no_trial_and_at_most_an_interval(
    ray_2_cpus: None, tmp_path: Path, lanes: int, epochs: int, kills: int
) -> None:
    wanted = experiment(
        tmp_path, f"killed-{lanes}", {"kind": "mlp", "hidden": [64, 64]},
        {"epochs": epochs, "global_batch_size": 4}, trials=4, fuse=lanes > 1, lanes=lanes, sampler="random",
        space={"train.peak_lr": {"log": [1e-4, 1e-2]}},
    )  # fmt: skip
    over, killed = threading.Event(), list[int]()
    killer = threading.Thread(target=killing, args=(over, killed, kills, 2.0), daemon=True)
    killer.start()
    try:
        found, events, _ = run(wanted)
    finally:
        over.set()
        killer.join()
    assert len(killed) == kills, "the processes must have been killed while trials ran"
    assert sorted(events) == [f"t{i:04d}" for i in range(4)]
    assert found.num_complete == 4
    assert all(len(event["curve"]) == event["epochs"] == epochs for event in events.values())
    struck = [event for event in events.values() if event["attempts"] > 1]
    assert struck
    assert max(event["lanes"] for event in events.values()) == lanes
    # An interval, and the epoch and the save that were under way.
    costs = [(event["trial"], event["recomputed_s"], event["attempts"], event["seconds"]) for event in struck]
    assert all(lost < 2 * INTERVAL_S * (attempts - 1) for _, lost, attempts, _ in costs), costs


def test_a_model_that_hangs_while_it_is_measured_is_named_and_the_others_go_on(
    ray_2_cpus: None, tmp_path: Path
) -> None:
    wanted = experiment(
        tmp_path, "measured", {"target": "tests.training.nets:Breaks", "args": {"where": "nowhere"}},
        {"epochs": 2, "hang_timeout_s": 3.0}, trials=4, sampler="grid", max_failures_per_trial=0,
        space={"model.args.where": {"choice": ["nowhere", "hangs"]}, "train.seed": {"choice": [0, 1]}},
    )  # fmt: skip
    found, events, _ = run(wanted)
    assert (found.num_complete, found.num_failed) == (2, 2)
    causes = [event["cause"] for event in events.values() if event["params"]["model.args.where"] == "hangs"]
    assert all("made no step for " in cause and "nets.py" in cause for cause in causes)
