"""From the search's settings to its judge."""

from collections.abc import Sequence
from typing import assert_never

from training.metric_names import Mode
from training.search.judges.halving import Bracket, Halving, ScoreBracket, shares_of
from training.search.judges.median import MedianRule
from training.search.judges.never import NeverStops
from training.search.judges.population import Population
from training.search.judges.racing import Racing
from training.search.judges.ranking import RankBracket
from training.search.judges.verdicts import Judge, LevelWords
from training.search_config import (
    AshaConfig,
    HyperbandConfig,
    MedianConfig,
    NoScheduler,
    PbtConfig,
    RacingConfig,
    SearchConfig,
)


def judge_of(search: SearchConfig, last_level: int, modes: Sequence[Mode]) -> Judge:
    """Who says which trials of this search go on.

    Args:
        search: its settings.
        last_level: epochs of a trial, or folds and seeds that judge it.
        modes: of the objectives, in their order.
    """
    words = _words(search)
    match search.scheduler:
        case AshaConfig(grace=grace, reduction_factor=factor):
            return _halving(grace, factor, 1, last_level, modes, words)
        case HyperbandConfig(grace=grace, reduction_factor=factor, brackets=num):
            return _halving(grace, factor, num, last_level, modes, words)
        case MedianConfig(grace=grace, min_trials=min_trials):
            return MedianRule(grace, min_trials, last_level, modes[0], words)
        case PbtConfig() as pbt:
            return Population(pbt, search.space, search.seed, last_level, modes[0], words)
        case RacingConfig(p_value=p_value, grace=grace):
            return Racing(p_value, grace, last_level, modes[0], words)
        case NoScheduler():
            return NeverStops(last_level)
    assert_never(search.scheduler)


def _halving(
    grace: int, factor: float, num_brackets: int, last_level: int, modes: Sequence[Mode], words: LevelWords
) -> Judge:
    """A bracket that would begin above the last level is left out: it has no rung."""
    if grace >= last_level:
        return NeverStops(last_level)
    tunes = [ScoreBracket(grace, last_level, factor, number, modes[0], words) for number in range(num_brackets)]
    tunes = [bracket for bracket in tunes if bracket.levels]
    brackets: list[Bracket] = [*tunes]
    if len(modes) > 1:
        brackets = [RankBracket(bracket.levels, factor, modes, words) for bracket in tunes]
    return Halving(brackets, shares_of(brackets), last_level)


def _words(search: SearchConfig) -> LevelWords:
    return LevelWords() if search.level == "epoch" else LevelWords(search.level)
