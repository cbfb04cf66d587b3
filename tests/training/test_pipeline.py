"""A run and its data: recorded once, compared each time, gone on with where a person says so."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from training.config import Experiment
from training.errors import DataError, StorageError
from training.pipeline import Work, working
from training.progress import Silent


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
