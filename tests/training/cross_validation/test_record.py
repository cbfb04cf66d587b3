"""What the folds say together, and folds on the disk: whole, of the same data, or trained again."""

from pathlib import Path

import numpy as np
import pytest

from training.cross_validation.kept import KeptFolds, Predicted
from training.cross_validation.out_of_fold import OutOfFold, tuned_threshold
from training.cross_validation.record import (
    RECORD_FILE,
    FoldResult,
    FoldsPlan,
    Job,
    read_cross_validation,
    refit_epochs,
    spreads,
)
from training.errors import ConfigError, StorageError
from training.learning_config import ImbalanceConfig


def result(fold: int, seed: int, best_epoch: int = 3, **scores: float) -> FoldResult:
    return FoldResult(
        fold=fold, seed=seed, num_train_rows=80, num_held_out_rows=20, scores=scores, epochs=9, best_epoch=best_epoch,
        seconds=1.0,
    )  # fmt: skip


def test_seeds_are_averaged_within_a_fold_before_folds_are_compared() -> None:
    results = [result(0, 0, accuracy=0.8), result(0, 1, accuracy=0.9), result(1, 0, accuracy=0.6),
               result(1, 1, accuracy=0.7)]  # fmt: skip
    found = spreads(results)["accuracy"]
    assert (found.mean, found.num_folds) == (pytest.approx(0.75), 2)
    assert found.deviation == pytest.approx(np.std([0.85, 0.65], ddof=1))


def test_a_score_that_a_fold_lacks_says_how_many_have_it() -> None:
    found = spreads([result(0, 0, accuracy=0.8, roc_auc=0.9), result(1, 0, accuracy=0.7), result(2, 0, accuracy=0.9)])
    assert (found["roc_auc"].num_folds, found["roc_auc"].low) == (1, None)
    assert found["accuracy"].num_folds == 3


@pytest.mark.parametrize(("best", "epochs"), [([3, 9, 4], 4), ([3, 4], 4), ([1], 1), ([2, 5], 4)])
def test_the_refit_takes_the_median_best_epoch_rounded_up(best: list[int], epochs: int) -> None:
    assert refit_epochs([result(i, 0, best_epoch=each) for i, each in enumerate(best)]) == epochs


@pytest.mark.parametrize(("folds", "seeds", "said"), [(1, 1, "folds is 1"), (0, 1, "folds is 0"), (3, 0, "seeds is 0")])
def test_plans_that_make_no_sense_are_refused(folds: int, seeds: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FoldsPlan(folds, seeds)


@pytest.mark.parametrize(
    "target", [np.array([0, 1, 1]), np.array([0.5, 1.5, 2.5], np.float32), np.eye(3, 2, dtype=np.float32)]
)
def test_a_kept_fold_comes_back_as_it_was(tmp_path: Path, target: np.ndarray) -> None:
    kept = KeptFolds.of(tmp_path, 5, "these rows")
    scores = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], np.float32)
    assert kept.result(Job(2, 1)) is None
    kept.keep(result(2, 1, accuracy=0.5), Predicted(np.array([7, 8, 9]), target, scores))
    found = kept.predicted(Job(2, 1))
    assert kept.result(Job(2, 1)) == result(2, 1, accuracy=0.5)
    for got, wanted in zip((found.rows_N, found.target, found.scores), ([7, 8, 9], target, scores), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert [path.name for path in kept.folder.iterdir()] == ["fold-2-seed-1.parquet"], "no stump beside it"


def test_folds_of_other_data_do_not_count_and_damaged_ones_are_named(tmp_path: Path) -> None:
    kept = KeptFolds.of(tmp_path, 5, "these rows")
    kept.keep(result(0, 0), Predicted(np.arange(3), np.arange(3), np.zeros(3, np.float32)))
    assert KeptFolds.of(tmp_path, 5, "other rows").result(Job(0, 0)) is None
    assert KeptFolds.of(tmp_path, 4, "these rows").result(Job(0, 0)) is None
    kept.path(Job(0, 0)).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StorageError, match=r"fold-0-seed-0.parquet is not a fold"):
        kept.result(Job(0, 0))
    (tmp_path / RECORD_FILE).write_text("{")
    with pytest.raises(StorageError, match="is not a cross-validation"):
        read_cross_validation(tmp_path)


def test_predictions_are_averaged_over_seeds_and_sorted_by_row() -> None:
    first = Predicted(np.array([5, 1]), np.array([0, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    second = Predicted(np.array([5, 1]), np.array([0, 1]), np.array([[0.4, 0.6], [0.2, 0.8]]))
    other = Predicted(np.array([3]), np.array([1]), np.array([[0.1, 0.9]]))
    mean = OutOfFold.of({Job(1, 0): other, Job(0, 1): second, Job(0, 0): first})
    assert mean.rows_N.tolist() == [1, 3, 5]
    assert mean.fold_N.tolist() == [0, 1, 0]
    assert mean.target.tolist() == [1, 1, 0]
    np.testing.assert_allclose(mean.scores[:, 1], [0.6, 0.9, 0.7])


def test_a_threshold_is_tuned_on_rows_that_no_model_saw() -> None:
    found = OutOfFold(np.arange(4), np.zeros(4), np.array([0, 0, 1, 1]),
                      np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], np.float32))  # fmt: skip
    assert tuned_threshold(ImbalanceConfig(threshold="f1"), found) == pytest.approx(0.25)
    assert tuned_threshold(ImbalanceConfig(threshold=0.7), found) == 0.7
    assert tuned_threshold(ImbalanceConfig(), found) is None
