"""Between Ray Tune and the conductor: Tune runs slots, the conductor fills them. Needs a running Ray."""

from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from training.search.conductor import Conductor
from training.search.slot import SLOT, TOLD


class SlotSearcher(Searcher):
    """Tune's view of a search: its trials are slots, as many as there is room and work for.

    Ray's own OptunaSearch makes every set of hyperparameters a trial of Tune's, tells Optuna that a stopped one was
    complete, and pays for an actor, a folder and a driver's round trip each time.
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(metric=None, mode=None)
        self._conductor = conductor

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a text
        """Another slot; None where none is wanted now."""
        if self._conductor.is_over:
            finished: str = Searcher.FINISHED
            return finished
        name = self._conductor.new_slot(trial_id)
        return None if name is None else {SLOT: name}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A slot's words are answered before Tune has it make its next step: calls reach an actor in their order."""
        orders = self._conductor.hear(trial_id, result[TOLD])
        self._conductor.handle_of(trial_id).obey.remote(orders)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot is gone, with its last words or without."""
        self._conductor.slot_ended(trial_id, None if error or not result else result.get(TOLD))

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its settings, us among them, to restore from; we restore from the study, and hold a terminal.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study in the run's storage is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class WhenOver(Stopper):
    """Ends slots that wait for room when there is no work left for them."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """A slot says itself when it is done."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        return self._conductor.is_over

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see SlotSearcher
