"""Cross-validations with real trainings: leak-free, kept at once, gone on with, and a run's model at the end."""

import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from training.alone import predictions, train_alone
from training.config import Experiment
from training.cross_validation.kept import KeptFolds
from training.cross_validation.out_of_fold import BY_SEED_FILE, MEAN_FILE
from training.cross_validation.record import CrossValidation, FoldsPlan, Job
from training.cross_validation.run import cross_validate
from training.data.folds import read_folds
from training.errors import ConfigError, DataError, TrainingFailed
from training.metrics import held_out_scores
from training.package.errors import UserError
from training.package.read import load_package
from training.pipeline import compress, train, working
from training.progress import Progress, Silent
from training.report.page import write_report
from training.run_folder import RunFolder
from training.summary import summarise

CPU = torch.device("cpu")


def experiment(storage: Path, name: str = "iris", **more: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": name,
            "storage": str(storage),
            "data": {"source": "sklearn:iris", "target": "target"},
            "model": {"kind": "mlp", "hidden": [8]},
            "train": {"epochs": 4, "global_batch_size": 16, "peak_lr": 0.05},
            "compress": {"forms": []},
        }
        | more
    )


def cross_validated(
    wanted: Experiment, plan: FoldsPlan, progress: Progress | None = None, *, with_refit: bool = False,
    accepts: bool = False,
) -> CrossValidation:  # fmt: skip
    with working(wanted, progress or Silent(), "train --folds", accepts_changed_data=accepts) as work:
        return cross_validate(work, plan, nullcontext, with_refit=with_refit)


def trained(wanted: Experiment) -> Counter[tuple[int, int]]:
    """How often each fold and seed was trained to its end."""
    return Counter((event["fold"], event["seed"]) for event in RunFolder.of(wanted).journal.events("fold"))


class Kept(Silent):
    """Counts what stood on the disk when each fold was told, and may stop there."""

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        self.folder, self.stop_at, self.counts = folder, stop_at, []  # type: ignore[var-annotated]

    def step(self, done: float, total: float, text: str) -> None:
        self.counts.append(len(list((self.folder / "folds").glob("of-*/*.parquet"))))
        if done == self.stop_at:
            raise KeyboardInterrupt


def test_folds_and_seeds_become_scores_predictions_and_a_model_of_all_rows(ray_2_cpus: None, tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    folder = RunFolder.of(wanted).path
    kept = Kept(folder)
    first = cross_validated(wanted, FoldsPlan(3), kept, with_refit=True)
    assert kept.counts == [1, 2, 3], "each was on the disk when it was told"
    more = cross_validated(wanted, FoldsPlan(3, 2), with_refit=True)
    assert trained(wanted) == {(fold, seed): 1 for fold in range(3) for seed in range(2)}, "nothing was done twice"
    assert set(map(str, first.folds)) < set(map(str, more.folds))
    by_seed, mean = (pq.read_table(folder / name) for name in (BY_SEED_FILE, MEAN_FILE))
    assert by_seed.num_rows == 2 * mean.num_rows == 2 * 128
    split = pq.read_table(folder / "split.parquet").to_pylist()
    assert sorted(mean["row"].to_pylist()) == sorted(row["row"] for row in split if row["part"] != "test")
    own = by_seed.group_by("row").aggregate([("probability.setosa", "mean")]).sort_by("row")
    np.testing.assert_allclose(own["probability.setosa_mean"], mean.sort_by("row")["probability.setosa"], rtol=1e-6)
    right = np.mean([row["answer"] == row["target"] for row in mean.to_pylist()])
    assert more.out_of_fold["accuracy"] == pytest.approx(right)
    assert more.refit is not None
    assert more.refit.num_rows == 128
    again = cross_validated(wanted, FoldsPlan(3, 2), with_refit=True)
    assert again == more
    assert len(list(RunFolder.of(wanted).journal.events("fit"))) == 2, "one for each plan"
    _the_run_goes_on_with_that_model(wanted, more)


def _the_run_goes_on_with_that_model(wanted: Experiment, found: CrossValidation) -> None:
    assert found.refit is not None
    with working(wanted, Silent(), "compress") as work:
        fitted = train(work)
        manifest = compress(work, None, fitted)
    assert fitted.checkpoint == found.refit.checkpoint
    assert manifest.variant("fp32").metrics["test/accuracy"] == pytest.approx(found.refit.scores["accuracy"])
    transforms = load_package(RunFolder.of(wanted).package).transforms
    assert transforms == read_folds(wanted.data, 1).all_rows().facts.transforms, "fitted on all rows, as the model was"
    page, summary = write_report(RunFolder.of(wanted).path).read_text(), summarise(RunFolder.of(wanted).path)
    assert 'data-chart="folds"' in page
    assert "the median of the folds" in page
    assert summary.cross_validation is not None
    assert summary.cross_validation.mean == found.scores["accuracy"].mean


def test_a_fold_is_what_training_on_its_rows_alone_gives(ray_2_cpus: None, tmp_path: Path) -> None:
    """Made here from the fold's own rows: a transform that saw others would move the probabilities."""
    wanted = experiment(tmp_path, "alone")
    found = cross_validated(wanted, FoldsPlan(4))
    folds = read_folds(wanted.data, 4)
    facts, rows, held_out = folds.source.encoded(folds.splits[2])
    here = train_alone(
        wanted, facts, rows, held_out, metric="accuracy", seed=wanted.train.seed, device=CPU, code_path=""
    )
    scores = predictions(here.model, facts, held_out, CPU)
    assert held_out_scores(facts.task, scores, held_out.target) == pytest.approx(found.folds[2].scores)
    with working(wanted, Silent(), "look") as work:
        key = json.loads(pq.read_schema(_files(work.run.path)[0]).metadata[b"manta"])["data_key"]
    np.testing.assert_allclose(KeptFolds.of(work.run.path, 4, key).predicted(Job(2, 0)).scores, scores, atol=1e-6)


def _files(run: Path) -> list[Path]:
    return sorted((run / "folds" / "of-4").iterdir())


def test_ctrl_c_keeps_what_is_done_and_the_next_call_makes_the_rest(ray_2_cpus: None, tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "stopped")
    with pytest.raises(KeyboardInterrupt):
        cross_validated(wanted, FoldsPlan(5), Kept(RunFolder.of(wanted).path, stop_at=2))
    assert sum(trained(wanted).values()) == 2
    assert len(cross_validated(wanted, FoldsPlan(5)).folds) == 5
    assert trained(wanted) == {(fold, 0): 1 for fold in range(5)}


def test_a_killed_worker_costs_no_fold(ray_2_cpus: None, tmp_path: Path) -> None:
    dying = {"target": "tests.training.nets:DiesOnce", "args": {"marker": str(tmp_path / "died"), "at_step": 3}}
    found = cross_validated(experiment(tmp_path, "killed", model=dying), FoldsPlan(2))
    assert (tmp_path / "died").exists()
    assert len(found.folds) == 2


def test_failed_folds_are_named_and_the_others_kept(ray_2_cpus: None, tmp_path: Path) -> None:
    failing = {"target": "tests.training.nets:Raises", "args": {"width": 3}}
    with pytest.raises(TrainingFailed, match=r"2 of 2 trainings failed\n  fold 0, seed 0: .*width 3 is below 10"):
        cross_validated(experiment(tmp_path, "failing", model=failing), FoldsPlan(2))


def test_other_rows_are_other_folds(ray_2_cpus: None, tmp_path: Path) -> None:
    def write(num_rows: int) -> None:
        lines = [f"{i % 7},{i * 3 % 11},{'ab'[i % 7 > 3]}" for i in range(num_rows)]
        (tmp_path / "rows.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")

    wanted = experiment(tmp_path, "changed", data={"source": str(tmp_path / "rows.csv"), "target": "label"})
    write(60)
    cross_validated(wanted, FoldsPlan(2))
    write(70)
    with pytest.raises(UserError, match="60 rows before, 70 now"):
        cross_validated(wanted, FoldsPlan(2))
    found = cross_validated(wanted, FoldsPlan(2), accepts=True)
    assert trained(wanted) == {(0, 0): 2, (1, 0): 2}, "a fold of the old rows would overlap the new ones"
    assert found.num_rows == sum(each.num_held_out_rows for each in found.folds)


def test_regressions_and_forward_chaining(ray_2_cpus: None, tmp_path: Path) -> None:
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d},{i % 9},{i % 9 * 1.5 + i * 0.01}" for i in range(120)]
    (tmp_path / "days.csv").write_text("\n".join(["day,x,amount", *days]) + "\n")
    data = {"source": str(tmp_path / "days.csv"), "target": "amount", "split": {"kind": "time", "by": "day"}}
    found = cross_validated(experiment(tmp_path, "days", data=data), FoldsPlan(3))
    assert [each.num_train_rows for each in found.folds] == sorted(each.num_train_rows for each in found.folds)
    assert found.num_out_of_fold_rows < found.num_rows, "the earliest rows are held out by no fold"
    mean = pq.read_table(RunFolder.of(experiment(tmp_path, "days", data=data)).path / MEAN_FILE)
    assert mean.column_names == ["row", "fold", "target", "prediction"]
    errors = mean["prediction"].to_numpy() - mean["target"].to_numpy()
    assert found.out_of_fold["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)


def test_a_quantile_is_judged_by_pinball_in_folds_together_and_on_the_test_part(
    ray_2_cpus: None, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "data": {"source": "sklearn:diabetes", "target": "target"},
        "train": {"epochs": 2, "global_batch_size": 64, "loss": {"kind": "quantile", "quantile": 0.8}},
    }
    wanted = experiment(tmp_path, "quantile", **changes)
    found = cross_validated(wanted, FoldsPlan(2), with_refit=True)
    mean = pq.read_table(RunFolder.of(wanted).path / MEAN_FILE)
    short = mean["target"].to_numpy() - mean["prediction"].to_numpy()
    assert found.metric == "pinball"
    assert found.out_of_fold["pinball"] == pytest.approx(np.where(short > 0, 0.8 * short, -0.2 * short).mean())
    assert found.spread is not None
    assert all(each.scores["pinball"] > 0 for each in found.folds)
    assert found.refit is not None
    assert found.refit.scores["pinball"] > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"split": {"folds": {"count": 3}}}}, "data.split.folds names one fold by itself"),
        ({"data": {"loading": "stream"}}, "these are streamed"),
        ({"train": {"parallel": "fsdp"}}, "each fold trains with one worker"),
        ({"train": {"schedule": {"kind": "plateau"}}}, "the model of all rows that follows the folds has none"),
    ],
)
def test_what_folds_cannot_be_made_of_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    wanted = experiment(tmp_path, "refused").model_dump(mode="json", exclude_unset=True)
    for section, keys in changes.items():
        wanted[section] = wanted[section] | keys
    with pytest.raises((ConfigError, DataError), match=said):
        cross_validated(Experiment.model_validate(wanted), FoldsPlan(3), with_refit=True)
