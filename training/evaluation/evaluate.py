"""One set of answers judged: scores with intervals, slices, calibration, and how far the rows are from training's.

Shape letters: N rows, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from training.evaluation.bootstrap import LEVEL, METHOD, Estimate, estimates
from training.evaluation.calibration import Calibration, Residuals, calibration, residuals
from training.evaluation.slices import Slice, parts_of, slice_scores
from training.evaluation.weighted import ClassScorer, Scorer, ValueScorer
from training.metric_names import METRIC_MODES, default_metric
from training.package.decision import answers
from training.package.drift import Shift, shift
from training.package.manifest import Task
from training.package.reference import Reference, score_measures
from training.package.shapes import StoredModel

BRIER = "brier"


@dataclass(frozen=True)
class Answered:
    """Rows with a known truth, and what the model says of them."""

    task: Task
    labels: tuple[str, ...]
    scores: np.ndarray  # (N, K) probabilities, or (N,) predictions
    target_N: np.ndarray  # class ids, or values
    threshold: float | None = None

    def scorer(self, rows: np.ndarray | slice = slice(None)) -> Scorer:
        """Scores of some of the rows, or of all."""
        scores, target_N = self.scores[rows], self.target_N[rows]
        if self.task == "regression":
            return ValueScorer(scores, target_N)
        return ClassScorer(scores, answers(scores, self.threshold), target_N, self.labels)


@dataclass(frozen=True)
class About:
    """What was judged, for the record."""

    model: str  # as it was asked for
    name: str
    package: str
    variant: str
    metric: str  # the score that decided about the package, without its prefix
    packaged: Mapping[str, float]  # scores that the package states of its own held-out rows
    data: str
    target: str
    num_without_target: int
    notes: tuple[str, ...] = field(default=())


class Evaluation(StoredModel):
    """What `manta evaluate --json` prints."""

    model: str
    name: str
    package: str
    variant: str
    data: str
    target: str
    task: Task
    metric: str
    num_rows: int
    num_without_target: int
    threshold: float | None
    classes: dict[str, int]  # rows of each; empty for a regression
    level: float
    interval: str  # how intervals were made
    num_resamples: int
    scores: dict[str, Estimate]
    packaged: dict[str, float]
    slices: tuple[Slice, ...]
    calibration: Calibration | None
    residuals: Residuals | None
    has_reference: bool
    shifts: tuple[Shift, ...]  # of the inputs, the furthest first
    answer_shifts: tuple[Shift, ...]  # of the target and of the model's answers
    notes: tuple[str, ...]

    def mode(self, score: str) -> str:
        """Whether a higher or a lower score is better: max or min."""
        return "min" if score == BRIER else METRIC_MODES.get(score, "max")


def evaluate(
    answered: Answered,
    about: About,
    *,
    by: Mapping[str, pa.ChunkedArray],
    reference: Reference | None,
    input_shifts: Sequence[Shift],
    num_resamples: int,
    seed: int = 0,
) -> Evaluation:
    """Judge answers.

    Args:
        answered: rows and answers.
        about: where they come from.
        by: columns to divide the rows by, (N,) each.
        reference: of the training rows, where the package has one.
        input_shifts: how far the inputs moved from it.
        num_resamples: of the intervals, 0 for none.
        seed: of the resamples.
    """
    whole = estimates(answered.scorer(), num_resamples, seed)
    parts = [part for name, column in by.items() for part in parts_of(name, column)]
    is_classes = answered.task == "classification"
    counts = np.bincount(answered.target_N, minlength=len(answered.labels)) if is_classes else ()
    return Evaluation(
        model=about.model,
        name=about.name,
        package=about.package,
        variant=about.variant,
        data=about.data,
        target=about.target,
        task=answered.task,
        metric=about.metric if about.metric in whole else default_metric(answered.task),
        num_rows=len(answered.target_N),
        num_without_target=about.num_without_target,
        threshold=answered.threshold,
        classes={label: int(count) for label, count in zip(answered.labels, counts, strict=True)},
        level=LEVEL,
        interval=METHOD,
        num_resamples=num_resamples,
        scores=whole,
        packaged=dict(about.packaged),
        slices=tuple(slice_scores(parts, whole, answered.scorer, num_resamples, seed)),
        calibration=calibration(answered.scores, answered.target_N, answered.labels, seed) if is_classes else None,
        residuals=None if is_classes else residuals(answered.scores, answered.target_N),
        has_reference=reference is not None,
        shifts=tuple(input_shifts),
        answer_shifts=tuple(_answer_shifts(answered, reference)) if reference else (),
        notes=about.notes,
    )


def _answer_shifts(answered: Answered, reference: Reference) -> list[Shift]:
    found: list[Shift] = []
    if reference.target is not None:
        names = pa.array(answered.labels, pa.string())
        truth = names.take(pa.array(answered.target_N)) if answered.labels else answered.target_N.astype(np.float64)
        found.append(shift(reference.target, truth, answered.labels))
    measured = score_measures(answered.scores, answered.labels, answered.threshold)
    return found + [
        shift(sketch, measured[sketch.measure]) for sketch in reference.scores if sketch.measure in measured
    ]
