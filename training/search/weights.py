"""Whose weights stay in the run's storage: what live trials need, the best ones, and the Pareto front."""

import bisect
import contextlib
import math
import time
from collections.abc import Callable, Collection

from training.checkpoint.open_area import open_area
from training.metric_names import Mode
from training.progress import TrialState
from training.search.retention import Retention, Stored, retained
from training.search_config import SearchConfig

LOOK_EVERY_S = 5.0  # at all files of the search, where their bytes are limited


class KeptWeights:
    """Of one search. Checkpoints lie in a folder a trial."""

    def __init__(self, config: SearchConfig, uri: str, mode: Mode, told: Callable[[str], None]) -> None:
        """
        Args:
            config: the search.
            uri: folder of the trials' checkpoints.
            mode: of the score.
            told: hears when what must stay is more than may be.
        """
        self._config, self._area, self._mode, self._told = config, open_area(uri), mode, told
        self._best: list[tuple[float, float, str]] = []  # of complete trials, the best first
        self._ended: dict[str, tuple[TrialState, float | None, float]] = {}
        self._front: set[str] = set()
        self._looked_at = -math.inf
        self._warned = ""

    @property
    def best(self) -> list[str]:
        """Complete trials whose weights stay for their score, the best first."""
        return [name for _, _, name in self._best]

    def ended(
        self, name: str, state: TrialState, score: float | None, loss: float, *, has_files: bool,
        front: Collection[str] | None = None,
    ) -> bool:  # fmt: skip
        """A trial ended; whether its weights are worth keeping. Those that fell out are removed.

        Args:
            name: of the trial.
            state: how it ended.
            score: of it.
            loss: decides between equal scores.
            has_files: whether it left checkpoints.
            front: all trials on the Pareto front now, where there are several objectives.
        """
        self._ended[name] = (state, score, loss)
        before = {*self.best, *self._front}
        if state == "complete" and score is not None:
            sign = -1.0 if self._mode == "max" else 1.0
            bisect.insort(self._best, (sign * score, loss, name))
            del self._best[self._config.keep_best :]
        self._front = set(front) if front is not None else self._front
        kept = {*self.best, *self._front}
        for fallen in before - kept:
            self.forget(fallen)
        if name not in kept and has_files:
            self.forget(name)
        return name in kept

    def recall(self, name: str, state: TrialState, score: float | None, loss: float) -> None:
        """A trial that ended under an earlier driver."""
        self.ended(name, state, score, loss, has_files=False)

    def forget(self, name: str) -> None:
        """Remove a trial's checkpoints."""
        with contextlib.suppress(FileNotFoundError):
            self._area.remove(name)

    def look(self) -> None:
        """Where bytes are limited: count them, and remove what may go."""
        if self._config.storage_budget_bytes is None or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        retention = self._retention()
        for stored in retention.delete:
            self.forget(stored.path)
        if retention.too_much and not self._warned:
            self._warned = retention.too_much
            self._told(retention.too_much)

    def _retention(self) -> Retention:
        now, stored = time.time(), dict[tuple[str, str], Stored]()
        for path, found in self._area.files().items():
            trial, _, rest = path.partition("/")
            if not trial.startswith("t"):
                continue  # the training of the experiment's own settings
            state, score, loss = self._ended.get(trial, (None, None, 0.0))
            place = f"{trial}/{rest.partition('/')[0]}" if state is None and not rest.startswith("best/") else trial
            known = stored.get((trial, place))
            stored[trial, place] = Stored(
                trial, state, found.num_bytes + (known.num_bytes if known else 0), now - found.age_s, score, loss, place
            )
        return retained(list(stored.values()), self._config, self._mode, self._front)
