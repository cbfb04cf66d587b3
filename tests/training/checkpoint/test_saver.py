"""Saving beside training."""

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.checkpoint.made import made, place, same
from training.checkpoint.manifest import Saved
from training.checkpoint.saver import Saver
from training.checkpoint.snapshot import Buffers, HostCopies
from training.checkpoint.store import CheckpointStore
from training.checkpoint.troubles import delay_s, passing_trouble
from training.errors import StorageError
from training.session import Checkpoint, Place


class SlowStore(CheckpointStore):
    """A real store that waits before it writes, until it is let go, and fails as often as it is told."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.may_write = threading.Event()
        self.may_write.set()
        self.writes = threading.Semaphore(0)  # one for each attempt that began
        self.errors: list[OSError] = []

    def write(self, checkpoint: Checkpoint, place: Place, group: Any = None) -> Saved:
        self.writes.release()
        assert self.may_write.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        return super().write(checkpoint, place, group)


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        self.events.append((event, facts))

    def names(self) -> list[str]:
        return [event for event, _ in self.events]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.checkpoint.troubles.FIRST_DELAY_S", 0.05)


@pytest.fixture
def store(tmp_path: Path) -> SlowStore:
    return SlowStore(str(tmp_path / "checkpoints"))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def saver(store: SlowStore, told: Told) -> Saver:
    return Saver(store, keep=2, keep_mb=None, on_event=told, give_up_after_s=30.0)


def steps(store: CheckpointStore) -> list[int]:
    return [saved.step for saved in store.list()]


def test_saves_what_it_was_given_and_keeps_two(saver: Saver, store: SlowStore, told: Told) -> None:
    best = made(1)["best"]
    for step in range(1, 5):
        saver.save({**made(step), "best": best}, place(step), wait=True)
    assert steps(store) == [1, 3, 4]  # the first is that of the best epoch
    assert told.names() == ["checkpoint_saved"] * 4
    assert told.events[-1][1]["step"] == 4
    assert told.events[-1][1]["bytes"] == saver.last_bytes == store.list()[-1].num_bytes
    assert saver.cost_s is not None
    assert 0 < saver.cost_s < 5
    found = store.newest_intact()
    assert found is not None
    assert same(found[1], {**made(4), "best": best})


def test_does_not_wait_and_a_newer_one_takes_the_waiting_ones_place(saver: Saver, store: SlowStore) -> None:
    """Training changes its tensors in place while the first is written and the second waits."""
    store.may_write.clear()
    checkpoint = made(1)
    live: list[torch.Tensor] = [checkpoint["model"]["weight"], checkpoint["optimizer"]["state"][0]["exp_avg"]]
    saver.save(checkpoint, place(1))
    assert store.writes.acquire(timeout=30)
    for step in (2, 3, 4):
        fresh = made(step)
        live[0].copy_(fresh["model"]["weight"])
        live[1].copy_(fresh["optimizer"]["state"][0]["exp_avg"])
        model = {**fresh["model"], "weight": live[0]}
        state = {0: {**fresh["optimizer"]["state"][0], "exp_avg": live[1]}}
        saver.save({**fresh, "model": model, "optimizer": {"state": state, "param_groups": []}}, place(step))
        assert not saver.is_idle
    live[0].zero_()
    live[1].zero_()
    store.may_write.set()
    saver.wait()
    assert saver.is_idle
    assert steps(store) == [1, 4]
    assert [same(store.read(saved), made(saved.step)) for saved in store.list()] == [True, True]
    assert saver.blocked_s < 10


def test_a_checkpoint_that_saw_a_nan_is_refused(saver: Saver, store: SlowStore, told: Told) -> None:
    saver.save({**made(1), "bad": torch.tensor(False)}, place(1), wait=True)
    saver.save({**made(2), "bad": torch.tensor(True)}, place(2), wait=True)
    assert told.names() == ["checkpoint_saved", "checkpoint_refused"]
    assert told.events[1][1]["step"] == 2
    assert steps(store) == [1]
    assert "bad" not in store.read(store.list()[0])


def test_trouble_is_told_once_and_waited_out(saver: Saver, store: SlowStore, told: Told) -> None:
    saver.save(made(1), place(1), wait=True)
    store.errors = [OSError(errno.ENOSPC, "No space left on device")] * 2 + [ConnectionResetError("reset")]
    saver.save(made(2), place(2), wait=True)
    assert told.names() == [
        "checkpoint_saved", "storage_trouble", "storage_trouble", "storage_recovered", "checkpoint_saved",
    ]  # fmt: skip
    trouble, other = told.events[1][1], told.events[2][1]
    assert (trouble["trouble"], other["trouble"]) == ("no_space", "unreachable")
    assert trouble["where"] == store.where
    assert trouble["last_good_step"] == 1
    assert trouble["free_mb"] > 0
    assert steps(store) == [1, 2]


def test_in_trouble_only_the_newest_is_tried_again(saver: Saver, store: SlowStore) -> None:
    store.errors = [OSError(errno.ESTALE, "Stale file handle")] * 3
    saver.save(made(1), place(1))
    assert store.writes.acquire(timeout=30)
    saver.save(made(2), place(2))
    saver.save(made(3), place(3), wait=True)
    assert steps(store) == [3]


def test_gives_up_at_last_with_all_that_one_needs_to_know(store: SlowStore, told: Told) -> None:
    saver = Saver(store, keep=2, keep_mb=None, on_event=told, give_up_after_s=0.3)
    saver.save(made(1), place(1), wait=True)
    store.errors = [OSError(errno.ENOSPC, "No space left on device")] * 9
    saver.save(made(2), place(2))  # training goes on
    with pytest.raises(StorageError) as raised:
        saver.wait()
    said = str(raised.value)
    for part in ("step 2", store.where, "No space left", "MB are free", "last good checkpoint is", "00000001", "hint"):
        assert part in said
    assert len(store.errors) < 8  # it was tried more than once
    store.errors = []
    saver.save(made(3), place(3), wait=True)
    assert steps(store) == [1, 3]


def test_what_waiting_cannot_mend_is_raised_at_the_next_save(saver: Saver, store: SlowStore, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file is in the way")
    saver.save(made(1), place(1))
    deadline = time.monotonic() + 30
    while not saver.is_idle and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(StorageError, match=r"(File exists|Not a directory).*last good checkpoint is unknown"):
        saver.save(made(2), place(2))


def test_a_bug_is_not_taken_for_trouble(saver: Saver) -> None:
    with pytest.raises(Exception, match="pickle"):
        saver.save({**made(1), "model": {"hook": lambda: 0}}, place(1), wait=True)


def test_above_the_limit_is_told_once(store: SlowStore, told: Told) -> None:
    saver = Saver(store, keep=9, keep_mb=0.001, on_event=told)
    best = made(1)["best"]
    for step in (1, 2, 3, 4):
        saver.save({**made(step), "best": best}, place(step), wait=True)
    assert steps(store) == [1, 4]
    assert told.names().count("checkpoints_over_limit") == 1


def test_a_hanging_storage_ends_the_wait(store: SlowStore, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.checkpoint.saver.HUNG_AFTER_S", 0.1)
    saver = Saver(store, keep=2, keep_mb=None, on_event=told, give_up_after_s=0.1)
    store.may_write.clear()
    with pytest.raises(StorageError, match="hangs"):
        saver.save(made(1), place(1), wait=True)
    store.may_write.set()
    saver.close()


def test_other_ranks_do_not_write(store: SlowStore, told: Told) -> None:
    saver = Saver(store, keep=2, keep_mb=None, on_event=told, rank=1)
    saver.save(made(1), place(1), wait=True)
    assert store.list() == []


def test_memory_is_used_again() -> None:
    buffers = Buffers(HostCopies())
    first = buffers.take(made(1)).ready()
    places = [first["model"]["weight"].data_ptr(), first["optimizer"]["state"][0]["exp_avg"].data_ptr()]
    checkpoint = made(2)
    second = buffers.take(checkpoint).ready()
    assert same(second, made(2))
    assert places == [second["model"]["weight"].data_ptr(), second["optimizer"]["state"][0]["exp_avg"].data_ptr()]
    assert second["best"]["model"]["weight"] is checkpoint["best"]["model"]["weight"]  # it never changes
    checkpoint["history"].append({})
    assert same(second, made(2))
    third = buffers.take(made(3, width=8)).ready()  # another shape
    assert same(third, made(3, width=8))


def test_a_part_of_a_tensor_takes_its_own_bytes_only(store: SlowStore, saver: Saver) -> None:
    large = torch.zeros(1_000_000)
    saver.save({**made(1), "model": {"part": large[:4], "turned": torch.arange(6.0).view(2, 3).T}}, place(1), wait=True)
    assert saver.last_bytes < 50_000
    assert store.read(store.list()[0])["model"]["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_pauses_double_up_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [delay_s(attempt, draw=1.0) for attempt in (0, 1, 2, 9)] == [0.5, 1.0, 2.0, 30.0]
    assert delay_s(0, draw=0.0) == 0.25


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, ""), "no_space"),
        (OSError(errno.EDQUOT, ""), "no_space"),
        (OSError(errno.EIO, ""), "unreachable"),
        (OSError(errno.ESTALE, ""), "unreachable"),
        (ConnectionRefusedError("refused"), "unreachable"),
        (OSError("When completing multiple part upload: AWS Error NETWORK_CONNECTION"), "unreachable"),
        (PermissionError(errno.EACCES, ""), None),
        (FileNotFoundError(errno.ENOENT, ""), None),
    ],
)
def test_what_passes_by_itself(error: OSError, kind: str | None) -> None:
    assert passing_trouble(error) == kind
