"""The scores of a training's epochs, taken in as they come: a long training tells of each, and is heard each time."""

import math
from collections.abc import Mapping, Sequence

from training.metric_names import Mode, is_better


class Curve:
    """Of one trial."""

    def __init__(self, metric: str, mode: Mode) -> None:
        """
        Args:
            metric: the score that decides, without its prefix.
            mode: of it.
        """
        self._name, self._mode = f"validation/{metric}", mode
        self.scores: list[float] = []
        self.bests: list[float] = []  # of the scores up to each; NaN as long as none is a number

    def follow(self, history: Sequence[Mapping[str, float]]) -> None:
        """Take in what is new of a training's history; one that was set back is taken in anew."""
        if len(history) < len(self.scores):
            self.clear()
        for metrics in history[len(self.scores) :]:
            score = metrics.get(self._name, math.nan)
            best = self.bests[-1] if self.bests else math.nan
            self.scores.append(score)
            self.bests.append(score if is_better(score, best, self._mode) else best)

    def clear(self) -> None:
        """Another training's history comes."""
        self.scores.clear()
        self.bests.clear()
