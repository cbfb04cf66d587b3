"""What several trainings of a trial say together, and how far its validation score can be believed.

Shape letters: K folds, or seeds where there are no folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.curve import Spread, spread
from training.evaluation.folds import fold_spread
from training.evaluation.words import number
from training.metric_names import METRIC_MODES, Mode, range_of

ANYTHING = (-np.inf, np.inf)


@dataclass(frozen=True)
class Replicate:
    """One training of a trial."""

    score: float
    fold: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class TrialScore:
    """The mean over folds and seeds, and where it may lie."""

    spread: Spread
    standard_error: float | None  # of the mean; None for a single training
    num_folds: int
    num_seeds: int

    @property
    def text(self) -> str:
        """For a person."""
        if self.spread.low is None or self.spread.high is None:
            return number(self.spread.mean)
        many = [f"{self.num_folds} folds"] if self.num_folds > 1 else []
        many += [f"{self.num_seeds} seeds"] if self.num_seeds > 1 else []
        bounds = f"{number(self.spread.low)} to {number(self.spread.high)}"
        return f"{number(self.spread.mean)} (95 % interval {bounds}, {' times '.join(many)})"


def trial_score(replicates: Sequence[Replicate], num_folds: int | None, metric: str = "") -> TrialScore:
    """Mean, standard error and 95 % interval over what has been trained.

    Seeds of one fold are averaged first. Folds share most of their training rows, which widens their interval: see
    `fold_spread`. Seeds alone get Student's.

    Args:
        replicates: those that are done, at least one.
        num_folds: folds that the rows are split into; None where only the seed differs.
        metric: its name, for the values that a mean can take.
    """
    within = range_of(metric) if metric in METRIC_MODES else ANYTHING
    seeds = len({each.seed for each in replicates})
    if num_folds is None:
        values_K = np.array([each.score for each in replicates])
        return TrialScore(spread(values_K, within), _error(values_K, 0.0), 1, seeds)
    values_K, share = _by_fold(replicates), 1 / (num_folds - 1)
    found = fold_spread(values_K, share, within)
    return TrialScore(found, _error(values_K, share), len(values_K), seeds)


def _by_fold(replicates: Sequence[Replicate]) -> np.ndarray:
    folds = sorted({each.fold for each in replicates if each.fold is not None})
    return np.array([np.mean([each.score for each in replicates if each.fold == fold]) for fold in folds])


def _error(values_K: np.ndarray, held_over_trained: float) -> float | None:
    if len(values_K) < 2:
        return None
    return float(values_K.std(ddof=1) * np.sqrt(1 / len(values_K) + held_over_trained))


def advantage(
    replicates: Sequence[Replicate], over: Sequence[Replicate], num_folds: int | None, mode: Mode
) -> TrialScore | None:
    """By how much one trial is better than another on the folds and seeds that both have; None where they share none.

    Paired, so that what makes a fold hard for both does not count. Above 0 where the first is better.
    """
    others: Mapping[tuple[int | None, int], float] = {(each.fold, each.seed): each.score for each in over}
    sign = 1.0 if mode == "max" else -1.0
    pairs = [
        Replicate(sign * (each.score - others[each.fold, each.seed]), each.fold, each.seed)
        for each in replicates
        if (each.fold, each.seed) in others
    ]
    return trial_score(pairs, num_folds) if pairs else None


def advantage_text(found: TrialScore, name: str, over: str) -> str:
    """For a person: whether the better trial is surely better."""
    told = f"{name} is better than {over} by {found.text}"
    if found.spread.low is None:
        return f"{told}: from a single training of each, so it may be chance"
    return f"{told}: {'more than chance' if found.spread.low > 0 else 'it may be chance'}"


def optimism_text(validation: float, test: float, mode: Mode, num_trials: int, score: TrialScore | None = None) -> str:
    """How the best trial's validation score compares with rows that no choice has seen, for a person.

    The best of many is partly the luckiest of many, so its validation score is too good on average. Source: Cawley and
    Talbot, On Over-fitting in Model Selection, JMLR 11 (2010).

    Args:
        validation: by which the trial was chosen.
        test: of the same model, or of its refit, on test rows.
        mode: which way is better.
        num_trials: among which it was chosen.
        score: over folds or seeds, where the trial has several.
    """
    gap = validation - test if mode == "max" else test - validation
    chosen = (
        f"chosen as the best of {num_trials} trials by {number(validation)} in validation, and {number(test)} in test"
    )
    if gap <= 0:
        return f"{chosen}: the choice did not flatter it"
    begin = f"{chosen}, {number(gap)} worse"
    bounds = score.spread if score is not None else None
    if bounds is not None and bounds.low is not None and bounds.high is not None:
        inside = bounds.low <= test <= bounds.high
        return f"{begin}: " + (
            "within the interval of its folds and seeds" if inside
            else "outside the interval of its folds and seeds, so the validation rows were learned by choosing, or the "
            "test rows are of another kind"
        )  # fmt: skip
    return f"{begin}: the best of many looks better than it is; search.folds or search.seeds would show by how much"
