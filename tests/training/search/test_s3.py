"""A search whose run lies in an object store: killed on one machine, it goes on on another."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
import yaml

from tests.journeys.commands import MANTA, environment, processes_of
from training.run_mirror import Mirror

TRIALS = 6
SEARCH = {
    "trials": TRIALS, "sampler": "random", "scheduler": "none", "fuse": False,
    "space": {"train.peak_lr": {"log": [0.0001, 0.1]}},
}  # fmt: skip


def command(folder: Path, machine: str, mark: str, *more: str) -> "subprocess.Popen[str]":
    """`manta tune` on a machine of that name: nothing but the store is common to two of them."""
    there = environment(mark) | {"XDG_CACHE_HOME": str(folder / machine)}
    return subprocess.Popen(
        [*MANTA, "tune", "stored.yaml", *more], cwd=folder, env=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def in_store(storage: str, folder: Path) -> list[dict[str, Any]]:
    """Trials that the store's journal holds."""
    Mirror(storage.replace("/runs?", "/runs/stored?"), folder / "reader").pull()
    journal = folder / "reader" / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == "trial"]


def checkpoints(storage: str) -> set[str]:
    """Trials of which the store has a checkpoint."""
    store, root = pafs.FileSystem.from_uri(storage)
    inside = pafs.FileSelector(f"{root}/stored/checkpoints", recursive=True, allow_not_found=True)
    paths = [info.path.removeprefix(f"{root}/stored/checkpoints/") for info in store.get_file_info(inside)]
    return {path.partition("/")[0] for path in paths if path.endswith("manifest.json")}


@pytest.mark.slow
def test_a_search_killed_on_one_machine_goes_on_on_another(s3_options: str, tmp_path: Path) -> None:
    storage = f"s3://data/{tmp_path.name}/runs{s3_options}"
    paced = {"target": "tests.training.nets:Paced", "args": {"folder": str(tmp_path), "seconds": 0.02}}
    train = {"epochs": 12, "global_batch_size": 16, "early_stopping": None, "checkpoint": {"max_interval_s": 0.5}}
    config = {
        "name": "stored", "storage": storage, "data": {"source": "sklearn:iris", "target": "target"},
        "model": paced, "train": train, "search": SEARCH,
    }  # fmt: skip
    (tmp_path / "stored.yaml").write_text(yaml.safe_dump(config))
    mark = f"s3-{tmp_path}"
    first = command(tmp_path, "machine-1", mark)
    deadline = time.monotonic() + 120
    while not (in_store(storage, tmp_path) and checkpoints(storage)):
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline, "nothing came into the store"
        time.sleep(0.2)
    for pid in processes_of(mark):
        os.kill(pid, signal.SIGKILL)
    first.communicate()
    done_before = len(in_store(storage, tmp_path))
    assert 1 <= done_before < TRIALS
    second = command(tmp_path, "machine-2", mark, "--json")
    said = second.communicate(timeout=240)
    assert second.returncode == 0, said[1]
    events = in_store(storage, tmp_path)
    assert sorted(event["trial"] for event in events) == [f"t{i:04d}" for i in range(TRIALS)]
    assert all((event["state"], len(event["curve"])) == ("complete", 12) for event in events)
    assert any(event["attempts"] > 1 for event in events)
    assert checkpoints(storage) == {json.loads(said[0])["trial"]}, "the best one's weights, and no others"
    assert list((tmp_path / "machine-2").rglob("checkpoint.pt")) == [], (
        "checkpoints go to the store, and not through this machine's folder"
    )
