"""Every row as a model that never saw it answers: one table by seed, one of the mean over seeds, and its scores.

Shape letters: N rows of all folds, K classes or labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.cross_validation.kept import Predicted, write_parquet
from training.cross_validation.record import Job
from training.data.prepared import Facts
from training.learning_config import ImbalanceConfig
from training.metrics import held_out_scores
from training.package.decision import answers
from training.threshold import best_threshold

BY_SEED_FILE, MEAN_FILE = "out_of_fold.parquet", "out_of_fold_mean.parquet"


@dataclass(frozen=True)
class OutOfFold:
    """The predictions of every fold, averaged over seeds."""

    rows_N: np.ndarray  # numbers in the main source as read, rising
    fold_N: np.ndarray
    target: np.ndarray  # as `Part.target`
    scores: np.ndarray  # (N, K) probabilities, or (N,) predictions

    @classmethod
    def of(cls, predicted: Mapping[Job, Predicted]) -> "OutOfFold":
        """From every training's own; each fold has as many seeds."""
        by_fold: dict[int, list[Predicted]] = {}
        for job, each in sorted(predicted.items()):
            by_fold.setdefault(job.fold, []).append(each)
        means = [np.mean([seed.scores for seed in seeds], axis=0) for seeds in by_fold.values()]
        firsts = [seeds[0] for seeds in by_fold.values()]
        folds = [np.full(len(first.rows_N), fold) for fold, first in zip(by_fold, firsts, strict=True)]
        rows_N = np.concatenate([first.rows_N for first in firsts])
        target = np.concatenate([first.target for first in firsts])
        order_N = np.argsort(rows_N, kind="stable")
        return cls(rows_N[order_N], np.concatenate(folds)[order_N], target[order_N], np.concatenate(means)[order_N])

    def scored(self, facts: Facts, threshold: float | None, quantile: float | None) -> dict[str, float]:
        """All scores that exist, of all rows at once."""
        return held_out_scores(
            facts.task, self.scores, self.target, labels=facts.labels, threshold=threshold, quantile=quantile
        )


def tuned_threshold(config: ImbalanceConfig, found: OutOfFold) -> float | None:
    """The threshold of the model of all rows, which leaves none to tune on: tuned on the out-of-fold predictions."""
    if config.threshold is None or isinstance(config.threshold, float):
        return config.threshold
    return best_threshold(found.scores[:, 1], found.target == 1, config.threshold)


def save(run: Path, predicted: Mapping[Job, Predicted], mean: OutOfFold, facts: Facts, threshold: float | None) -> None:
    """Write both tables.

    Columns: `row` (number in the source), `fold`, `seed` (only by seed), `target`; for classes `answer` and
    `probability.<label>`, for labels `target.<label>` and `probability.<label>`, for numbers `prediction`.
    """
    parts = [
        pa.table({"row": each.rows_N, "fold": np.full(len(each.rows_N), job.fold, dtype=np.int32),
                  "seed": np.full(len(each.rows_N), job.seed, dtype=np.int32),
                  **_columns(each.target, each.scores, facts, threshold)})
        for job, each in sorted(predicted.items())
    ]  # fmt: skip
    write_parquet(pa.concat_tables(parts), run / BY_SEED_FILE)
    columns = _columns(mean.target, mean.scores, facts, threshold)
    write_parquet(pa.table({"row": mean.rows_N, "fold": mean.fold_N.astype(np.int32), **columns}), run / MEAN_FILE)


def _columns(
    target: np.ndarray, scores: np.ndarray, facts: Facts, threshold: float | None
) -> dict[str, pa.Array | np.ndarray]:
    if facts.task == "regression":
        return {"target": target, "prediction": scores}
    probabilities = {f"probability.{label}": scores[:, i] for i, label in enumerate(facts.labels)}
    if facts.task == "multilabel":
        return {f"target.{label}": target[:, i] > 0 for i, label in enumerate(facts.labels)} | probabilities
    texts = pa.array(facts.labels, pa.string())
    return {"target": texts.take(_ids(target)), "answer": texts.take(_ids(answers(scores, threshold))), **probabilities}


def _ids(ids_N: np.ndarray | Sequence[int]) -> pa.Array:
    return pa.array(np.asarray(ids_N, dtype=np.int64))
