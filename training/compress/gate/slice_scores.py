"""The deciding score on parts of the held-out rows, for the model card."""

import numpy as np

from training.compress.gate.quality import slices_of
from training.compress.held_out import HeldOut
from training.evaluation.bootstrap import estimates
from training.evaluation.weighted import ClassScorer, Scorer, ValueScorer
from training.package.card_measured import SliceScore
from training.package.decision import answers

NUM_RESAMPLES = 200


def slice_scores_of(held_out: HeldOut, scores: np.ndarray, metric: str) -> tuple[SliceScore, ...]:
    """Of every slice in which the score exists; none of tasks other than classes and numbers.

    Args:
        held_out: rows, and what divides them.
        scores: what a form answers to all of them.
        metric: plain name of the score.
    """
    if held_out.task not in ("classification", "regression"):
        return ()
    found: list[SliceScore] = []
    for part in slices_of(held_out):
        scorer = _scorer(held_out, scores[part.rows], held_out.target[part.rows])
        estimate = estimates(scorer, NUM_RESAMPLES).get(metric)
        if estimate is not None and estimate.value is not None:
            found.append(
                SliceScore(
                    f"{held_out.part}/{metric}",
                    part.column,
                    part.value,
                    len(part.rows),
                    estimate.value,
                    estimate.low,
                    estimate.high,
                )
            )
    return tuple(found)


def _scorer(held_out: HeldOut, scores: np.ndarray, target: np.ndarray) -> Scorer:
    if held_out.task == "regression":
        return ValueScorer(scores, target)
    return ClassScorer(scores, answers(scores, held_out.threshold), target, held_out.labels)
