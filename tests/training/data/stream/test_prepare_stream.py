"""From Parquet files to a stream: the same as a table in memory where it can be, bad rows, changed files, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.data.stream import tables
from training.data.config import DataConfig
from training.data.fingerprint import content_digest
from training.data.prepared import Prepared
from training.data.stream import files
from training.data.stream.choose import free_memory_bytes, should_stream
from training.data.stream.part import StreamPart
from training.data.stream.prepare import prepare_stream
from training.data.stream.windows import Window
from training.errors import DataError
from training.features import fit_transforms
from training.loop import Trainer, run_to_end
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.session import PlainSession
from training.train_config import TrainConfig

SPLIT_BY_ID = {"kind": "hash", "by": "id"}


def windows(prepared: Prepared, epoch: int = 0) -> list[Window]:
    assert isinstance(prepared.train, StreamPart)
    return [prepared.train.decode(plan) for plan in prepared.train.plan_windows(0, epoch, 10)]


def training_ids(prepared: Prepared) -> list[int]:
    return sorted(row for window in windows(prepared) for row in window.row_ids.tolist())


def write_one(path: Path, table: pa.Table, group_rows: int = 100) -> Path:
    pq.write_table(table, path, row_group_size=group_rows)
    return path


def test_parts_cover_the_table_and_training_rows_alone_are_fitted_on(tmp_path: Path) -> None:
    table = tables.rows()
    prepared = prepare_stream(tables.config(tables.write(tmp_path / "t", table)))
    assert isinstance(prepared.train, StreamPart)
    ids = training_ids(prepared)
    assert len(ids) == len(prepared.train) == sum(prepared.train.class_counts)
    held_out = set(range(tables.NUM_ROWS)) - set(ids)
    assert len(held_out) == len(prepared.validation) + len(prepared.test)
    assert not set(prepared.test_rows.column("id").to_pylist()) & set(ids)
    assert 0.1 < len(prepared.validation) / tables.NUM_ROWS < 0.2
    in_memory, _ = fit_transforms(table.take(ids).select(["x", "word"]), _numbers_and_words(), tables.config(tmp_path))
    (x,), (word,) = prepared.facts.transforms.numeric, prepared.facts.transforms.categorical
    assert (x.mean, x.scale) == pytest.approx((in_memory.numeric[0].mean, in_memory.numeric[0].scale), rel=1e-6)
    assert word.vocabulary == in_memory.categorical[0].vocabulary
    assert [column.name for column in prepared.facts.transforms.dates] == ["day"]  # text that is dates everywhere
    assert prepared.sources[0].num_rows == tables.NUM_ROWS


def _numbers_and_words() -> Any:
    from training.data.table import Schema

    return Schema({"x": "numeric", "word": "categorical"}, "y", "classification", ("no", "yes"))


def test_a_division_by_hash_is_that_of_a_table_in_memory(tmp_path: Path) -> None:
    from training.data.split import split_rows
    from training.data.table import infer_schema

    table = tables.rows()
    config = tables.config(tables.write(tmp_path / "t", table), split=SPLIT_BY_ID)
    split = split_rows(table, infer_schema(table, config), config, None)
    prepared = prepare_stream(config)
    assert training_ids(prepared) == split.train.tolist()
    assert sorted(prepared.test_rows.column("id").to_pylist()) == split.test.tolist()


def test_groups_stay_together_and_times_come_in_order(tmp_path: Path) -> None:
    table = tables.rows()
    folder = tables.write(tmp_path / "t", table)
    by_group = prepare_stream(tables.config(folder, split={"kind": "group", "by": "group"}))
    groups = table.column("group").to_numpy()
    assert not set(groups[training_ids(by_group)]) & set(by_group.test_rows.column("group").to_pylist())
    by_time = prepare_stream(tables.config(folder, split={"kind": "time", "by": "id"}, ignore=["group"]))
    ids = training_ids(by_time)
    assert max(ids) < min(by_time.test_rows.column("id").to_pylist())
    assert len(ids) == pytest.approx(0.7 * tables.NUM_ROWS, abs=2)


def test_rows_that_judge_are_bounded_and_counted(tmp_path: Path) -> None:
    prepared = prepare_stream(tables.config(tables.write(tmp_path / "t", tables.rows()), max_held_out_rows=20))
    assert (len(prepared.validation), len(prepared.test), prepared.test_rows.num_rows) == (20, 20, 20)
    assert any("20 of" in note and "validation" in note for note in prepared.notes)


def test_bad_rows_stop_the_run_or_are_left_out_and_counted(tmp_path: Path) -> None:
    table = tables.rows()
    x = table.column("x").to_numpy().copy()
    x[[17, 1200]] = np.inf
    y = table.column("y").to_pylist()
    y[40] = None
    table = table.set_column(1, "x", pa.array(x)).set_column(5, "y", pa.array(y))
    folder = tables.write(tmp_path / "t", table)
    with pytest.raises(DataError, match=r"part-0.parquet row 17, x: 'inf' is infinite") as stopped:
        prepare_stream(tables.config(folder))
    assert "3 of 1,500 rows are bad" in str(stopped.value)
    quarantine = tmp_path / "bad.parquet"
    prepared = prepare_stream(tables.config(folder, checks={"max_bad_fraction": 0.01}), quarantine=quarantine)
    assert prepared.counts == {"read": 1500, "bad": 3, "kept": 1497}
    assert pq.read_table(quarantine).num_rows == 3
    used = {*training_ids(prepared), *prepared.test_rows.column("id").to_pylist()}
    assert not used & {17, 40, 1200}


def test_columns_are_renamed_cast_and_hashed_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_PII_KEY", "k" * 32)
    table = tables.rows().rename_columns(["id", "x", "word", "day", "group", "label"])
    table = table.set_column(1, "x", pa.array([f"{value:.3f}" for value in table.column("x").to_pylist()]))
    folder = tables.write(tmp_path / "t", table)
    settings = {"rename": {"label": "y"}, "cast": {"x": "number"}, "pii": {"word": "hash", "day": "drop"}}
    prepared = prepare_stream(tables.config(folder, **settings))
    (word,) = prepared.facts.transforms.categorical
    assert all(text.startswith("pii:") for text in word.vocabulary)
    assert "day" not in prepared.test_rows.column_names
    assert not np.isin(prepared.validation.tensors["categorical"], [0, 1]).any()  # neither missing nor unknown
    assert np.isfinite(np.concatenate([window.tensors["numeric"] for window in windows(prepared)])).all()


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    table = tables.rows()
    path = write_one(tmp_path / "t.parquet", table)
    prepared = prepare_stream(tables.config(path))
    write_one(path, table.slice(0, 1400))
    with pytest.raises(DataError, match=r"t\.parquet changed while it was read"):
        windows(prepared)


def test_the_fingerprint_is_of_rows_and_files(tmp_path: Path) -> None:
    table = tables.rows()
    one = prepare_stream(tables.config(write_one(tmp_path / "a.parquet", table)))
    again = prepare_stream(tables.config(write_one(tmp_path / "a.parquet", table)))
    other = prepare_stream(tables.config(write_one(tmp_path / "a.parquet", table.slice(1))))
    assert one.facts.fingerprint == again.facts.fingerprint != other.facts.fingerprint
    as_read = table.set_column(3, "day", table.column("day").cast(pa.date32()))
    assert one.sources[0].digest == content_digest(as_read)


def test_row_groups_larger_than_a_window_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MIN_PIECE_ROWS", 64)
    monkeypatch.setattr(files, "MAX_PIECE_ROWS", 64)
    table = tables.rows()
    prepared = prepare_stream(tables.config(write_one(tmp_path / "t.parquet", table, group_rows=table.num_rows)))
    assert isinstance(prepared.train, StreamPart)
    plans = prepared.train.with_windows_of(12 << 10).plan_windows(0, 0, 10)
    assert len(plans) > 2
    ids = [row for plan in plans for row in prepared.train.decode(plan).row_ids.tolist()]
    assert sorted(ids) == training_ids(prepared)


def test_folders_of_partitions_are_columns(tmp_path: Path) -> None:
    table = tables.rows()
    for year in (2023, 2024):
        folder = tmp_path / "t" / f"year={year}"
        folder.mkdir(parents=True)
        write_one(folder / "x.parquet", table.slice(700 * (year - 2023), 700))
    prepared = prepare_stream(tables.config(tmp_path / "t"))
    assert "year" in [column.name for column in prepared.facts.transforms.numeric]


def test_a_separate_test_source(tmp_path: Path) -> None:
    folder = tables.write(tmp_path / "t", tables.rows())
    test = write_one(tmp_path / "test.parquet", tables.rows(50, seed=9))
    prepared = prepare_stream(tables.config(folder, test=str(test)))
    assert (len(prepared.test), [facts.name for facts in prepared.sources]) == (50, ["source", "test"])
    odd = tables.rows(50).set_column(5, "y", pa.array(["maybe", "yes"] * 25))
    with pytest.raises(DataError, match=r"classes that data\.source lacks: 'maybe'"):
        prepare_stream(tables.config(folder, test=str(write_one(tmp_path / "odd.parquet", odd))))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"join": [{"source": "b.csv", "on": "id"}]}, "rules out\n  data.join"),
        ({"sample": 0.5}, "data.sample: 0.5"),
        ({"checks": {"duplicates": "drop"}}, "data.checks.duplicates: drop"),
        ({"checks": {"columns": {"id": {"unique": True}}}}, "data.checks.columns.id: unique"),
        ({"split": {"kind": "group", "by": "gruop"}}, r"data\.split\.by names gruop[\s\S]*nearest: group"),
    ],
)  # fmt: skip
def test_what_a_stream_cannot_do_is_said(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    folder = tables.write(tmp_path / "t", tables.rows(300))
    with pytest.raises(DataError, match=said):
        prepare_stream(tables.config(folder, **settings))


def test_only_parquet_is_streamed_and_only_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n")
    with pytest.raises(DataError, match="not made of Parquet files alone"):
        prepare_stream(tables.config(tmp_path / "t.csv"))
    folder = tables.write(tmp_path / "t", tables.rows())
    assert should_stream(tables.config(folder))
    auto = DataConfig(source=str(folder), target="y")
    assert not should_stream(auto)
    assert not should_stream(DataConfig(source=str(tmp_path / "t.csv"), target="y"))
    assert free_memory_bytes() > 1 << 20
    monkeypatch.setattr("training.data.stream.choose.free_memory_bytes", lambda: 100_000)
    assert should_stream(auto)
    assert not should_stream(auto.model_copy(update={"loading": "memory"}))


def test_a_stream_trains_and_goes_on_inside_an_epoch_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    prepared = prepare_stream(tables.config(tables.write(tmp_path / "t", tables.rows())))
    config = TrainConfig(epochs=2, global_batch_size=100, peak_lr=0.05, early_stopping=None)

    def trainer(session: PlainSession) -> Trainer:
        inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
        model = build_model(MlpConfig(hidden=(8,), dropout=0.1), inputs, 0)
        train, validation = prepared.train, prepared.validation
        return Trainer(config, model, prepared.facts, train, validation, session, "accuracy")

    session = PlainSession()
    whole = trainer(session)
    run_to_end(whole, session)
    assert whole.best.score > 0.75
    first, second = trainer(PlainSession()), trainer(PlainSession())
    first.train_epoch()
    first.train_steps(4)
    second.load(first.checkpoint())
    run_to_end(second, PlainSession())
    assert all(tensor.equal(second.model.state_dict()[name]) for name, tensor in whole.model.state_dict().items())
