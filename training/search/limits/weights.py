"""Whose weights stay in the run's storage: what live trials need, the best ones, and the Pareto front."""

import bisect
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace

from training.checkpoint.manifest import BEST_FOLDER
from training.checkpoint.open_area import open_area
from training.metric_names import Mode
from training.progress import TrialState
from training.search.limits.retention import Retention, Stored, retained
from training.search_config import SearchConfig

LOOK_EVERY_S = 5.0  # at all files of the search, where their bytes are limited
SETTLE_S = 10.0  # after which no slot is still writing a checkpoint of a trial that has ended


class KeptWeights:
    """Of one search. Checkpoints lie in a folder a trial.

    Where a trial is several trainings (folds, seeds) none is kept: the model that is wanted is none of theirs.
    """

    def __init__(self, config: SearchConfig, uri: str, mode: Mode, told: Callable[[str], None]) -> None:
        """
        Args:
            config: the search.
            uri: folder of the trials' checkpoints.
            mode: of the score.
            told: hears when what must stay is more than may be.
        """
        self._config, self._area, self._mode, self._told = config, open_area(uri), mode, told
        self._most = config.keep_best if config.replicates == 1 else 0
        self._best: list[tuple[float, float, str]] = []  # of complete trials, the best first
        self._ended: dict[str, tuple[TrialState, float | None, float]] = {}
        self._front: set[str] = set()
        self._fallen: deque[tuple[float, str]] = deque()  # when they were removed; their slot may still have written
        self._looked_at = -math.inf
        self._warned = ""

    @property
    def best(self) -> list[str]:
        """Complete trials whose weights stay for their score, the best first."""
        return [name for _, _, name in self._best]

    def is_kept(self, name: str) -> bool:
        """Whether the weights of a trial that ended are to stay."""
        return name in self._front or name in self.best

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
        fallen = self._note(name, state, score, loss)
        if front is not None and self._most:
            fallen |= self._front - set(front)
            self._front = set(front)
        for other in sorted(fallen):
            if not self.is_kept(other):
                self.forget(other)
        if has_files and not self.is_kept(name):
            self.forget(name)
        return self.is_kept(name)

    def _note(self, name: str, state: TrialState, score: float | None, loss: float) -> set[str]:
        """Who is not among the best any more."""
        self._ended[name] = (state, score, loss)
        if state != "complete" or score is None:
            return set()
        bisect.insort(self._best, (-score if self._mode == "max" else score, loss, name))
        fallen = {other for _, _, other in self._best[self._most :]} - {name}
        del self._best[self._most :]
        return fallen

    def recall(self, name: str, state: TrialState, score: float | None, loss: float) -> None:
        """A trial that ended under an earlier driver; `sweep` then removes what it left."""
        self._note(name, state, score, loss)

    def recall_front(self, front: Collection[str]) -> None:
        """The trials on the Pareto front when this driver began."""
        self._front = set(front) if self._most else set()

    def forget(self, name: str) -> None:
        """Remove a trial's checkpoints: now, and once more when its slot can no longer be writing one."""
        self._remove(name)
        self._fallen.append((time.monotonic(), name))

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._area.remove(name)

    def sweep(self) -> None:
        """Remove all that trials left which ended and are not kept: a driver may have died before it could."""
        self._fallen.clear()
        for name in {path.partition("/")[0] for path in self._area.files()}:
            if name in self._ended and not self.is_kept(name):
                self._remove(name)

    def look(self) -> None:
        """Remove what came late; where bytes are limited, count them, and remove what may go."""
        now = time.monotonic()
        while self._fallen and now - self._fallen[0][0] >= SETTLE_S:
            self._remove(self._fallen.popleft()[1])
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._bound()

    def close(self) -> None:
        """The end of this execution: nobody writes any more."""
        self.sweep()
        self._bound()

    def _bound(self) -> None:
        if self._config.storage_budget_bytes is None:
            return
        retention = self._retention()
        for stored in retention.delete:
            self._remove(stored.path)
        if retention.too_much and not self._warned:
            self._warned = retention.too_much
            self._told(retention.too_much)

    def _retention(self) -> Retention:
        now, sizes = time.time(), dict[str, dict[str, tuple[int, float]]]()
        for path, found in self._area.files().items():
            trial, _, rest = path.partition("/")
            if not trial.startswith("t"):
                continue  # the training of the experiment's own settings
            places = sizes.setdefault(trial, {})
            size, saved_at = places.get(rest.partition("/")[0], (0, -math.inf))
            places[rest.partition("/")[0]] = size + found.num_bytes, max(saved_at, now - found.age_s)
        stored = [each for trial, places in sizes.items() for each in self._stored(trial, places)]
        return retained(stored, self._config, self._mode, self._front)

    def _stored(self, trial: str, places: dict[str, tuple[int, float]]) -> list[Stored]:
        """A trial that ended goes as a whole; of one that runs, checkpoints by themselves."""
        num_bytes, saved_at = sum(size for size, _ in places.values()), max(at for _, at in places.values())
        if trial in self._ended:
            state, score, loss = self._ended[trial]
            return [Stored(trial, state, num_bytes, saved_at, score, loss, trial)]
        steps = sorted((at, name) for name, (_, at) in places.items() if name != BEST_FOLDER)
        if not steps:
            return [Stored(trial, None, num_bytes, saved_at, path=trial)]
        stored = [Stored(trial, None, places[name][0], at, path=f"{trial}/{name}") for at, name in steps]
        best_bytes = places.get(BEST_FOLDER, (0, 0.0))[0]  # the newest one refers to them
        return [*stored[:-1], replace(stored[-1], num_bytes=stored[-1].num_bytes + best_bytes)]
