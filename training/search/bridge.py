"""Between Ray Tune and the conductor: Tune runs slots, the conductor fills them. Needs a running Ray."""

from collections.abc import Callable
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from training.hosts import machines
from training.search.conductor import Conductor
from training.search.slot.actor import SLOT, TOLD


class HeadKilled(BaseException):
    """Ray itself was. No Exception, for which Tune would first clean up, and wait a minute for a Ray that is gone."""


class _Bridge:
    """Tune catches what its helpers raise, and goes on or wraps it in a trace: the conductor keeps it instead."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def _told(self, tell: Callable[[], None]) -> None:
        try:
            if self._conductor.failure is None:
                tell()
        except Exception as error:  # raised again when Tune has ended
            self._conductor.failure = error

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its settings, us among them, to restore from; we restore from the study, and hold a terminal.
        return {}


class SlotSearcher(_Bridge, Searcher):
    """Tune's view of a search: its trials are slots, as many as there is room and work for.

    Ray's own OptunaSearch makes every set of hyperparameters a trial of Tune's, tells Optuna that a stopped one was
    complete, and pays for an actor, a folder and a driver's round trip each time.
    """

    def __init__(self, conductor: Conductor) -> None:
        _Bridge.__init__(self, conductor)
        Searcher.__init__(self, metric=None, mode=None)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a text
        """Another slot; None where none is wanted now."""
        if self._conductor.is_over:
            finished: str = Searcher.FINISHED
            return finished
        name = self._conductor.new_slot(trial_id)
        return None if name is None else {SLOT: name}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A slot's words are answered before Tune has it make its next step: calls reach an actor in their order."""

        def answer() -> None:
            orders = self._conductor.hear(trial_id, result[TOLD])
            self._conductor.handle_of(trial_id).obey.remote(orders)

        self._told(answer)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot is gone, with its last words or without."""
        told = None if error or not result else result.get(TOLD)
        self._told(lambda: self._conductor.slot_ended(trial_id, told))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study in the run's storage is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class WhenOver(_Bridge, Stopper):
    """Ends slots that wait for room when there is no work left for them, or no time."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """A slot says itself when it is done."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over. Raises HeadKilled."""
        if dead := machines.dead_head():
            raise HeadKilled(dead)
        self._told(self._conductor.look_at_budget)
        return self._conductor.is_over


class SlotDeaths(_Bridge, Callback):
    """Tells of processes that died: their trials go on at once, and not when Tune has begun another process."""

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune begins the slot again."""
        lines = str(trial.get_error() or "").split("\n")
        why = next((line.strip() for line in reversed(lines) if line.strip()), "no reason was given")
        self._told(lambda: self._conductor.process_ended(trial.trial_id, why[:300]))
