"""Why a search found nothing, and what would do."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from optuna.trial import FrozenTrial, TrialState

from training.errors import TrainingFailed
from training.search.limits.spending import Spending
from training.search.plan.cost import Bench, measure
from training.search.plan.estimate import START_S

logger = logging.getLogger(__name__)
MOST_CAUSES = 5


def why_nothing(
    trials: Sequence[FrozenTrial], ended: str, spending: Spending, trial_s: float, bench: Bench,
    params: Mapping[str, Any],
) -> TrainingFailed:  # fmt: skip
    """The error that says it.

    Args:
        trials: of the search.
        ended: why it ended, if it did before all trials had.
        spending: of this execution.
        trial_s: what a whole trial takes by what was seen; 0 where none made a step.
        bench: to measure one here, where nothing was seen.
        params: of a trial to measure.
    """
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    if failed and len(failed) == len(trials):
        causes = {str(trial.user_attrs.get("cause", "unknown")) for trial in failed}
        lines = [f"all {len(failed)} trials failed", *sorted(causes)[:MOST_CAUSES]]
        return TrainingFailed("\n  ".join(lines), "mend the cause; a new --set name=... starts the search afresh")
    what = f"the search ended before any trial had a score: {ended}"
    needed_s = trial_s or _measured_s(bench, params)
    # The next execution begins with the start of its slots again, which may have taken all of this one's time.
    start_s = max(START_S[1], 0.0 if trial_s else 1.5 * spending.elapsed_s)
    too_small = spending.too_small(needed_s, start_s) if needed_s else ""
    return TrainingFailed(
        f"{what}\n  {too_small}" if too_small else what, "with a larger search.budget the same command goes on"
    )


def _measured_s(bench: Bench, params: Mapping[str, Any]) -> float:
    """Seconds of a whole trial by a few of its steps; 0 where this process cannot tell."""
    search = bench.experiment.search
    assert search is not None
    if bench.device.type == "cuda" and not torch.cuda.is_available():
        return 0.0
    try:
        cost = measure(bench, dict(params))
    except Exception:  # the sentence without a number is still true
        logger.exception("could not measure a trial")
        return 0.0
    return search.replicates * (cost.setup_s + bench.experiment.train.epochs * cost.epoch_s)
