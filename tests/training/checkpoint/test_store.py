"""The store on a local folder."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.checkpoint.made import made, place, same
from training.checkpoint import staging
from training.checkpoint.store import CheckpointStore
from training.errors import StorageError
from training.package.digest import sealed_json
from training.session import Place


def steps(store: CheckpointStore) -> list[int]:
    return [saved.step for saved in store.list()]


def newest(folder: Path) -> int | None:
    """What a process that comes later finds; its content is what was written."""
    found = CheckpointStore(str(folder)).newest_intact()
    if found is None:
        return None
    saved, checkpoint = found
    assert same(checkpoint, made(saved.step))
    return saved.step


def test_gives_back_what_it_got(tmp_path: Path) -> None:
    store = CheckpointStore(f"file://{tmp_path}/a/b")
    assert store.list() == []
    assert store.newest_intact() is None
    saved = store.write(made(12), Place(1, 2, 12))
    assert saved.path == str(tmp_path / "a/b/00000012")
    assert (saved.step, saved.place) == (12, Place(1, 2, 12))
    assert saved.num_bytes == (tmp_path / "a/b/00000012/checkpoint.pt").stat().st_size
    found = CheckpointStore(str(tmp_path / "a/b")).newest_intact()
    assert found is not None
    assert found[0].place == Place(1, 2, 12)
    assert same(found[1], made(12))


def test_without_any_best_weights(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    saved = store.write(made(1, best_epoch=0), place(1))
    assert same(store.read(saved), made(1, best_epoch=0))
    assert store.list()[0].is_best is False


def test_best_weights_are_written_once(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    first = made(1)
    store.write(first, place(1))
    store.write({**made(2), "best": first["best"]}, place(2))
    CheckpointStore(str(tmp_path)).write(made(3), place(3))  # another process, equal weights
    (folder,) = (tmp_path / "best").iterdir()
    assert newest(tmp_path) == 3
    changed = made(4, best_epoch=2)
    store.write(changed, place(4))
    assert len(list((tmp_path / "best").iterdir())) == 2
    assert [saved.is_best for saved in store.list()] == [False, False, False, True]
    store.tidy(keep=1, keep_mb=None)
    assert steps(store) == [4]
    assert not folder.exists()


def test_best_weights_changed_in_place_are_written_again(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    checkpoint = made(1)
    store.write(checkpoint, place(1))
    checkpoint["best"]["model"]["weight"].add_(1)
    saved = store.write(checkpoint, place(2))
    assert same(store.read(saved), checkpoint)


def test_best_weights_that_were_cleared_away_are_written_again(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    checkpoint = made(1)
    store.write(checkpoint, place(1))
    shutil.rmtree(tmp_path / "best")
    assert same(store.read(store.write(checkpoint, place(1))), checkpoint)


def test_a_step_that_stands_is_not_written_over(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    store.write(made(5), Place(0, 5, 5))
    after = {**made(5), "epoch": 1}
    saved = store.write(after, Place(1, 0, 5))
    assert saved.name == "00000005.1"
    found = store.newest_intact()
    assert found is not None
    assert found[0].place == Place(1, 0, 5)
    assert same(found[1], after)


def test_after_a_rollback_the_newest_is_what_was_written_last(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    for step in (10, 20, 30):
        store.write(made(step), place(step))
    CheckpointStore(str(tmp_path)).write(made(15), place(15))
    assert steps(store) == [10, 20, 30, 15]
    assert newest(tmp_path) == 15


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    old = tmp_path / "checkpoint_2026-01-01_00-00-00.000000" / "checkpoint.pt"
    old.parent.mkdir()
    torch.save({}, old)
    (tmp_path / "notes.txt").write_text("mine")
    assert newest(tmp_path) is None
    store = CheckpointStore(str(tmp_path))
    store.write(made(1), place(1))
    store.tidy(keep=1, keep_mb=None)
    assert old.exists()
    assert (tmp_path / "notes.txt").exists()
    assert steps(store) == [1]


def test_half_a_folder_does_not_exist_and_goes(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    store.write(made(1), place(1))
    shutil.copytree(tmp_path / "00000001", tmp_path / "00000002")
    (tmp_path / "00000002" / "manifest.json").unlink()
    assert newest(tmp_path) == 1
    store.tidy(keep=2, keep_mb=None)
    assert not (tmp_path / "00000002").exists()


def test_dead_writers_are_cleared_away_and_living_ones_not(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    dead = tmp_path / ".00000001.dead"
    dead.mkdir()
    (dead / staging.LOCK_FILE).touch()
    (tmp_path / f"{staging.GONE}1").mkdir()
    fresh = tmp_path / ".00000001.fresh"  # its writer is about to lock it
    fresh.mkdir()
    with staging.staging_folder(tmp_path, "00000002") as living:
        (living / "checkpoint.pt").write_bytes(b"half")
        store.write(made(3), place(3))
        assert {path.name for path in tmp_path.glob(".*")} == {living.name, fresh.name}
        assert (living / "checkpoint.pt").read_bytes() == b"half"
    os.utime(fresh, (0, 0))
    store.write(made(4), place(4))
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    store = CheckpointStore(str(folder))
    store.write(made(1), place(1))
    store.write(made(2), place(2))
    store.write(made(3, best_epoch=2), place(3))  # its best weights are its own
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_seen_and_the_one_before_taken(three: Path, tmp_path: Path, data: st.DataObject) -> None:
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(three, copy)
    files = [*(copy / "00000003").iterdir(), *(copy / "best").glob("00000002-*/*")]
    assert len(files) == 3
    path = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "grow", "remove"])):
        case "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[at:]
        case "grow":
            content += b"\0"
        case "remove":
            content.clear()
            path.unlink()
    if path.exists():
        path.write_bytes(content)
    store = CheckpointStore(str(copy))
    found = store.newest_intact()
    assert found is not None
    assert found[0].step == 2
    assert same(found[1], made(2))
    assert len(store.skipped) == (path.name != "manifest.json")  # without one it does not exist at all
    assert all("00000003" in words for words in store.skipped)


def test_says_what_it_skipped(three: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(three, tmp_path / "copy")
    payload = copy / "00000003" / "checkpoint.pt"
    size = payload.stat().st_size
    os.truncate(payload, 100)
    (copy / "00000002" / "checkpoint.pt").unlink()
    store = CheckpointStore(str(copy))
    found = store.newest_intact()
    assert found is not None
    assert found[0].step == 1
    assert store.skipped == [
        f"{copy}/00000003 has 100 bytes in checkpoint.pt instead of {size}",
        f"{copy}/00000002 lacks checkpoint.pt",
    ]


def test_a_storage_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    """Else a run would start anew, and its first checkpoints would push the good ones out."""
    store = CheckpointStore(str(tmp_path / "file" / "checkpoints"))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"cannot be read: .*Not a directory"):
        store.newest_intact()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    store.write({**made(1), "history": [Path("a")]}, place(1))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        store.newest_intact()


@pytest.mark.parametrize("path", ["/etc/passwd", "../../x", "../x", "a/../../x", "best/../../../x", ""])
def test_a_manifest_does_not_point_outside(tmp_path: Path, path: str) -> None:
    store = CheckpointStore(str(tmp_path))
    store.write(made(1), place(1))
    file = tmp_path / "00000001" / "manifest.json"
    manifest = json.loads(file.read_bytes())
    del manifest["seal"]
    file.write_bytes(sealed_json(manifest))
    assert steps(store) == [1]
    manifest["files"][0]["path"] = path
    file.write_bytes(sealed_json(manifest))
    assert store.list() == []


def test_where_it_cannot_go() -> None:
    with pytest.raises(StorageError, match="no absolute path"):
        CheckpointStore("runs/a")
    with pytest.raises(StorageError, match=r"cannot go to ftp://user:\*\*\*@host/x") as raised:
        CheckpointStore("ftp://user:secret@host/x")
    assert "secret" not in str(raised.value)
