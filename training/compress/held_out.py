"""Held-out rows that forms are judged on. Shape letters: N rows, K classes or labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from training.metrics import held_out_scores
from training.package.manifest import Task


@dataclass(frozen=True)
class HeldOut:
    """Rows as a served model takes them, their truth, and what divides them."""

    task: Task
    labels: tuple[str, ...]
    tensors: Mapping[str, np.ndarray]  # by name, in the order the model takes them
    target: np.ndarray  # as `held_out_scores` takes it
    threshold: float | None = None
    quantile: float | None = None  # that a regression predicts
    columns: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)  # that divide the rows, (N,) each
    part: str = "test"

    def __len__(self) -> int:
        return len(self.target)

    def scores_of(self, answers: np.ndarray) -> dict[str, float]:
        """Scores by plain name of what a model answers to all rows."""
        return held_out_scores(
            self.task, answers, self.target, labels=self.labels, threshold=self.threshold, quantile=self.quantile
        )
