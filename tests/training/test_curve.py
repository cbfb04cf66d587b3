"""Learning curves with real trainings: kept at once, gone on with, the same for the same seed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.curve_text import curve_json, curve_text
from training.config import Experiment
from training.curve import measure, train_on_subset
from training.curve_record import CURVE_FILE, CurvePlan, CurveRecord, Job, missing_jobs, open_curve, read_curve
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.errors import DataError, StorageError, TrainingFailed
from training.evaluation.curve import Measured
from training.progress import Silent
from training.report.curve_page import curve_page
from training.run_folder import RunFolder


class Kept(Silent):
    """Remembers what was told, and what stood in the file by then."""

    def __init__(self, file: Path) -> None:
        self.file, self.told, self.kept = file, [], []  # type: ignore[var-annotated]

    def step(self, done: float, total: float, text: str) -> None:
        self.told.append((done / total, text))
        self.kept.append(len(json.loads(self.file.read_text())["measured"]) if self.file.exists() else 0)


def experiment(storage: Path, name: str = "iris", **more: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": name,
            "storage": str(storage),
            "data": {"source": "sklearn:iris", "target": "target"},
            "model": {"kind": "mlp", "hidden": [8]},
            "train": {"epochs": 4, "global_batch_size": 16, "peak_lr": 0.05, "early_stopping": None},
        }
        | more
    )


def curve(
    wanted: Experiment, plan: CurvePlan, metric: str = "accuracy", code_path: str = ""
) -> tuple[CurveRecord, Kept]:
    run, prepared = RunFolder.of(wanted), prepare(wanted.data)
    run.path.mkdir(parents=True, exist_ok=True)
    record, kept = open_curve(wanted, prepared, run, metric), Kept(run.path / CURVE_FILE)
    jobs = missing_jobs(record, plan)
    return (measure(record, jobs, wanted, prepared, run, kept, code_path) if jobs else record), kept


def without_time(record: CurveRecord) -> list[Measured]:
    """In one order and without what no two runs share."""
    timeless = [each.model_copy(update={"seconds": 0.0}) for each in record.measured]
    return sorted(timeless, key=lambda each: (each.num_rows, each.repeat))


def test_points_are_kept_at_once_and_a_second_call_adds(ray_2_cpus: None, tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    first, kept = curve(wanted, CurvePlan(2, 1))
    assert [(each.num_rows, each.repeat) for each in without_time(first)] == [(52, 0), (105, 0)]
    assert kept.kept == [1, 2], "each was on the disk when it was told"
    assert kept.told[-1][0] == 1.0
    again, nothing = curve(wanted, CurvePlan(2, 1))
    assert (again, nothing.told) == (first, [])
    more, added = curve(wanted, CurvePlan(4, 2))
    assert len(added.told) == 7, "sizes 20, 35, 60 and 105, of which one is done"
    assert len(more.measured) == 9
    assert set(map(Measured.model_dump_json, without_time(first))) <= set(
        map(Measured.model_dump_json, without_time(more))
    )
    text, page, printed = curve_text(more), curve_page(more), curve_json(more)
    assert f"accuracy by training rows, on the same {more.num_validation_rows} validation rows" in text
    assert "twice the rows (210) would" in text
    assert [point["num_repeats"] for point in printed["points"]] == [2, 2, 1, 2, 2]
    assert printed["power_law"]["largest"] == 105
    assert 'data-chart="curve"' in page
    assert "What the rows are worth" in page


def test_the_same_seed_gives_the_same_scores_wherever_it_is_trained(ray_2_cpus: None, tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    record, _ = curve(wanted, CurvePlan(1, 2))
    prepared: Prepared = prepare(wanted.data)
    data: Any = (prepared.facts, prepared.train, prepared.validation)
    here = train_on_subset(data, wanted.model_dump(mode="json"), Job(105, 1), "accuracy", "", "cpu")
    assert isinstance(here, Measured)
    there = next(each for each in record.measured if each.repeat == 1)
    assert (here.train, here.validation) == (there.train, there.validation)
    assert here.num_steps == here.best_epoch * 7
    other = next(each for each in record.measured if each.repeat == 0)
    assert other.train["log_loss"] != there.train["log_loss"], "repeats differ by their seed"


def test_regressions_and_images_have_curves(ray_2_cpus: None, tmp_path: Path) -> None:
    diabetes = experiment(tmp_path, "diabetes", data={"source": "sklearn:diabetes", "target": "target"})
    digits = experiment(
        tmp_path, "digits", data={"source": "sklearn:digits", "target": "target", "image_shape": [1, 8, 8]},
        model={"kind": "convnet", "channels": [2], "hidden": 4},
        train={"epochs": 1, "global_batch_size": 64},
    )  # fmt: skip
    regression, _ = curve(diabetes, CurvePlan(2, 1), metric="rmse")
    assert "rmse by training rows" in curve_text(regression)
    assert {"rmse", "mae", "r2"} <= set(regression.measured[0].validation)
    images, _ = curve(digits, CurvePlan(2, 1))
    assert sorted(each.num_rows for each in images.measured) == [629, 1258]


def test_other_settings_and_other_data_are_refused(ray_2_cpus: None, tmp_path: Path) -> None:
    curve(experiment(tmp_path), CurvePlan(1, 1))
    wider = experiment(tmp_path, model={"kind": "mlp", "hidden": [16]})
    with pytest.raises(StorageError, match=r"different experiment:\n  model.hidden: \[8\] -> \[16\]"):
        curve(wider, CurvePlan(1, 1))
    moved = experiment(tmp_path, train={"epochs": 4, "global_batch_size": 16, "peak_lr": 0.05, "early_stopping": None,
                                        "cpus_per_worker": 0.5})  # fmt: skip
    assert len(curve(moved, CurvePlan(1, 1))[0].measured) == 1, "where it trains makes no other curve"
    file = tmp_path / "iris" / CURVE_FILE
    file.write_text(file.read_text().replace('"fingerprint": "', '"fingerprint": "x'))
    with pytest.raises(StorageError, match="changed since the curve"):
        curve(experiment(tmp_path), CurvePlan(1, 1))
    file.write_text("{")
    with pytest.raises(StorageError, match="is not a learning curve"):
        read_curve(file.parent)


def test_a_run_of_other_settings_in_the_folder_is_refused(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    RunFolder.of(wanted).open(wanted)
    with pytest.raises(StorageError, match="different experiment"):
        curve(experiment(tmp_path, model={"kind": "mlp", "hidden": [16]}), CurvePlan(1, 1))


def test_trainings_that_fail_are_told_and_tried_again(ray_2_cpus: None, tmp_path: Path) -> None:
    failing = {"target": "tests.training.nets:Raises", "args": {"width": 3}}
    wanted = experiment(tmp_path, "failing", model=failing)
    with pytest.raises(TrainingFailed, match=r"all 2 trainings failed\n  RuntimeError: width 3 is below 10"):
        curve(wanted, CurvePlan(1, 2))
    assert (
        len(missing_jobs(open_curve(wanted, prepare(wanted.data), RunFolder.of(wanted), "accuracy"), CurvePlan(1, 2)))
        == 2
    )


def test_a_killed_worker_costs_no_point(ray_2_cpus: None, tmp_path: Path) -> None:
    dying = {"target": "tests.training.nets:DiesOnce", "args": {"marker": str(tmp_path / "died"), "at_step": 3}}
    record, _ = curve(experiment(tmp_path, "killed", model=dying), CurvePlan(1, 1))
    assert (tmp_path / "died").exists()
    assert len(record.measured) == 1


def test_ctrl_c_keeps_what_is_done_and_ends_the_rest(ray_2_cpus: None, tmp_path: Path) -> None:
    class Impatient(Silent):
        def step(self, done: float, total: float, text: str) -> None:
            raise KeyboardInterrupt

    wanted = experiment(tmp_path, "stopped")
    run, prepared = RunFolder.of(wanted), prepare(wanted.data)
    run.path.mkdir(parents=True)
    record = open_curve(wanted, prepared, run, "accuracy")
    with pytest.raises(KeyboardInterrupt):
        measure(record, missing_jobs(record, CurvePlan(3, 4)), wanted, prepared, run, Impatient())
    kept = read_curve(run.path)
    assert kept is not None
    assert len(kept.measured) == 1
    assert len(missing_jobs(kept, CurvePlan(3, 4))) == 11, "the next call makes the others"


def test_a_stream_has_no_subsets(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    streamed = replace(prepare(wanted.data), train=object())  # type: ignore[arg-type]  # no rows in memory
    with pytest.raises(DataError, match="these are streamed"):
        open_curve(wanted, streamed, RunFolder.of(wanted), "accuracy")


def test_a_small_table_is_trained_whole(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    record = open_curve(wanted, prepare(wanted.data), RunFolder.of(wanted), "accuracy")
    small = record.model_copy(update={"num_train_rows": 15})
    assert missing_jobs(small, CurvePlan(6, 2)) == [Job(15, 0), Job(15, 1)]
    assert np.all(np.diff([job.num_rows for job in missing_jobs(record, CurvePlan(6, 3))]) <= 0)
