"""A run and its data: recorded once, compared each time, gone on with where a person says so."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from training.config import Experiment
from training.errors import ConfigError, DataError, StorageError
from training.journal import Event
from training.pipeline import Work, train, working
from training.progress import Live, Silent
from training.run_record import BY_HAND
from training.search.result import SearchResult


def write_rows(path: Path, num_rows: int, *, extra: str = "") -> None:
    lines = [f"{i % 17},{i * 7 % 23},{'ab'[i * 5 % 3 % 2]}" for i in range(num_rows)]
    path.write_text("\n".join(["x,y,label", *lines]) + "\n" + extra)


def experiment(folder: Path, **data: object) -> Experiment:
    raw = {"source": str(folder / "rows.csv"), "target": "label", **data}
    return Experiment.model_validate({"name": "rows", "storage": str(folder / "runs"), "data": raw})


def work_on(folder: Path, accepts: bool = False, **data: object) -> Work:
    with working(experiment(folder, **data), Silent(), "train", accepts_changed_data=accepts) as work:
        _ = work.prepared
        return work


def test_the_run_keeps_what_was_read_and_which_row_was_where(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100, extra="1,2,a,too many\n")
    work = work_on(tmp_path, checks={"max_bad_fraction": 0.05})
    (source,) = json.loads((work.run.path / "data.json").read_text())["sources"]
    assert (source["name"], source["num_rows"]) == ("source", 100)
    assert source["files"][0]["size_bytes"] == (tmp_path / "rows.csv").stat().st_size
    (bad,) = pq.read_table(work.run.quarantine).to_pylist()
    assert (bad["row"], bad["source"]) == (100, str(tmp_path / "rows.csv"))
    split = pq.read_table(work.run.path / "split.parquet")
    assert sorted(split.column("row").to_pylist()) == list(range(100))


def test_too_many_bad_rows_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100, extra="1,2,a,too many\n")
    with pytest.raises(DataError, match=r"1 of 101 rows are bad"):
        work_on(tmp_path)
    assert (tmp_path / "runs" / "rows" / "quarantine.parquet").exists()


def test_changed_data_is_refused_with_what_differs_and_gone_on_with_when_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    first = work_on(tmp_path).prepared.facts
    write_rows(tmp_path / "rows.csv", 110)
    with pytest.raises(StorageError, match="100 rows before, 110 now"):
        work_on(tmp_path)
    second = work_on(tmp_path, accepts=True).prepared.facts
    assert second.fingerprint != first.fingerprint
    assert first.fingerprint in second.accepts
    third = work_on(tmp_path).prepared.facts  # once accepted, it is the run's data
    assert (third.fingerprint, first.fingerprint in third.accepts) == (second.fingerprint, True)


def test_rows_in_another_order_are_other_data_unless_they_are_divided_by_a_hash(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    by_hash = tmp_path / "hash"
    by_hash.mkdir()
    write_rows(by_hash / "rows.csv", 100)
    _ = work_on(tmp_path), work_on(by_hash, split={"kind": "hash"})
    for folder in (tmp_path, by_hash):
        head, *lines = (folder / "rows.csv").read_text().splitlines()
        (folder / "rows.csv").write_text("\n".join([head, *reversed(lines)]) + "\n")
    with pytest.raises(StorageError, match="another order"):
        work_on(tmp_path)
    work_on(by_hash, split={"kind": "hash"})


def test_a_file_written_again_with_the_same_rows_is_looked_at_and_gone_on_with(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    work = work_on(tmp_path)
    assert not work.must_read
    write_rows(tmp_path / "rows.csv", 100)
    assert work.must_read
    again = work_on(tmp_path)
    assert again.prepared.facts.fingerprint == work.prepared.facts.fingerprint
    assert not again.must_read
    (tmp_path / "rows.csv").unlink()
    assert not work.must_read  # a finished run may outlive its data


class Told(Silent):
    """Remembers what a person would see of a training."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.epochs: list[int] = []
        self.num_lives = 0

    def stage(self, name: str, detail: str = "") -> None:
        self.stages.append(f"{name} {detail}")

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        self.epochs.append(epoch)

    def live(self, live: Live) -> None:
        self.num_lives += 1


def trained(folder: Path, name: str, epochs: int, kept_by: str = "") -> tuple[Told, list[Event]]:
    """The training of a trial after its search, in a run whose search, maybe, left what a training of another has."""
    search = {"space": {"train.peak_lr": {"log": [1e-4, 1e-1]}}}
    config = {"epochs": epochs, "global_batch_size": 32, "early_stopping": None}
    wanted = experiment(folder).model_dump(exclude_unset=True) | {"name": name, "search": search, "train": config}
    told = Told()
    with working(Experiment.model_validate(wanted), told, "run") as work:
        if kept_by:
            shutil.copytree(folder / "runs" / kept_by / "checkpoints" / "t0002", work.run.checkpoints_of("t0002"))
        train(work, SearchResult("t0002", {"train.peak_lr": 0.01}, 0.5, 3, 0, 0))
        return told, list(work.run.journal.events("epoch", "fit"))


def test_what_the_search_kept_is_said_in_a_line_and_recorded_whole(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    new, events = trained(tmp_path, "searched", 3)
    assert new.stages[-1] == "train t0002 with 1 worker, up to 3 epochs"
    assert new.epochs == [1, 2, 3]
    kept, again = trained(tmp_path, "done", 3, kept_by="searched")
    best = events[-1]["best_epoch"]
    assert kept.stages[-1] == (
        f"train the model is t0002's, as the search kept it (best epoch {best} of 3); nothing is trained again"
    )
    assert (kept.epochs, kept.num_lives) == ([], 0)
    assert [event["metrics"] for event in again] == [event["metrics"] for event in events]


def test_what_the_search_broke_off_goes_on_and_only_new_epochs_are_shown(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    trained(tmp_path, "searched", 2)
    told, events = trained(tmp_path, "longer", 4, kept_by="searched")
    assert told.stages[-1] == "train t0002 with 1 worker, up to 4 epochs; it goes on after epoch 2"
    assert told.epochs == [3, 4]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2, 3, 4]


def test_a_damaged_checkpoint_is_no_promise(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    trained(tmp_path, "searched", 2)
    (damaged,) = (tmp_path / "runs" / "searched" / "checkpoints" / "t0002").glob("0*/checkpoint.pt")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    told, _ = trained(tmp_path, "anew", 2, kept_by="searched")
    assert told.stages[-1] == "train t0002 with 1 worker, up to 2 epochs"
    assert told.epochs == [1, 2]


def test_a_run_that_is_stopped_by_hand_says_so(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 100)
    with pytest.raises(KeyboardInterrupt), working(experiment(tmp_path), Silent(), "train") as work:
        raise KeyboardInterrupt
    event = work.run.journal.last("failed")
    assert event is not None
    assert event["message"] == BY_HAND


def test_an_earlier_run_that_is_not_there_leaves_no_folder_behind(tmp_path: Path) -> None:
    """The name could not be used again: the folder would hold another experiment."""
    wanted = Experiment.model_validate(
        {
            "name": "one", "storage": str(tmp_path), "data": {"source": "sklearn:iris", "target": "target"},
            "search": {"from": ["nothere"], "space": {"train.peak_lr": {"log": [1e-3, 1e-1]}}},
        }
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"search\.from names nothere"), working(wanted, Silent(), "tune"):
        pass
    assert not (tmp_path / "one").exists()
