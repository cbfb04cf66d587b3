"""From raw rows and a compressed model to the package's reference. Shape letters: N rows."""

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa

from training.config import Experiment
from training.data.table import as_float32, target_texts
from training.package.manifest import InputSpec, Task
from training.package.reference import Reference, build_reference
from training.package.transforms import encoder_inputs

MAX_SCORED_ROWS = 20_000
ROWS_AT_A_TIME = 4096  # images of all rows at once would fill the memory


def package_reference(
    training_rows: pa.Table,
    answers: np.ndarray,
    *,
    experiment: Experiment,
    task: Task,
    labels: tuple[str, ...],
    inputs: tuple[InputSpec, ...],
    hashed: Collection[str] = (),
    threshold: float | None = None,
) -> Reference:
    """Sketch training rows, their target, and the answers of the chosen variant to held-out rows.

    Args:
        training_rows: raw, target included.
        answers: scores of rows that took no part in training, (M, K) or (M,).
        experiment: resolved.
        task: what the model answers.
        labels: names in the order of the model's outputs; empty where it answers numbers.
        inputs: what a client sends.
        hashed: columns that were pseudonymised, of which nothing but ranks is kept.
        threshold: of two classes, the probability of the second from which it is the answer.
    """
    data = experiment.data
    of_scores = task in ("classification", "regression")  # of the others there is no one answer to compare
    return build_reference(
        (encoder_inputs(part, inputs) for part in _parts(training_rows)),
        inputs,
        hidden=[*data.pii, *hashed],
        target=_target(training_rows, experiment, bool(labels)) if of_scores else None,
        scores=_drawn(answers) if of_scores else None,
        labels=labels,
        threshold=threshold,
    )


def _target(rows: pa.Table, experiment: Experiment, of_classes: bool) -> tuple[str, np.ndarray]:
    data = experiment.data
    column = rows.column(data.target_name)
    return data.target_name, target_texts(column, data).astype(object) if of_classes else as_float32(column)


def _drawn(answers: np.ndarray) -> np.ndarray:
    """All of them, or so many drawn at random, always the same ones."""
    if len(answers) <= MAX_SCORED_ROWS:
        return answers
    return answers[np.random.default_rng(0).choice(len(answers), MAX_SCORED_ROWS, replace=False)]


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    return (rows.slice(start, ROWS_AT_A_TIME) for start in range(0, rows.num_rows, ROWS_AT_A_TIME))
