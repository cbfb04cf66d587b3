"""Writes to a storage that may fail for a while: tried again with growing pauses, told of once, given up at last."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from training.checkpoint.manifest import Saved
from training.checkpoint.store import CheckpointStore
from training.checkpoint.team import Team
from training.checkpoint.troubles import delay_s, passing_trouble
from training.errors import StorageError

T = TypeVar("T")
_AGAIN = "then start again, and it goes on from the last good checkpoint"
_NEXT_STEP = {
    "no_space": f"free space there, or set train.checkpoint.keep_mb; {_AGAIN}",
    "unreachable": f"restore the access to it; {_AGAIN}",
}
_LOOK_EVERY_S = 0.2  # how soon a pause ends for a newer checkpoint


class Superseded(Exception):
    """A newer checkpoint waits, so this one is no longer worth trying."""


class Patience:
    """One for all checkpoints of a training: an outage does not begin anew with each."""

    def __init__(
        self, store: CheckpointStore, give_up_after_s: float, tell: Callable[..., None], stopping: threading.Event,
    ) -> None:  # fmt: skip
        self._store, self._give_up_after_s, self._tell, self._stopping = store, give_up_after_s, tell, stopping
        self.last_good: Saved | None = None
        self._since: float | None = None  # when the trouble began
        self._kinds: set[str] = set()  # of trouble, told already

    def insist(self, action: Callable[[], T], step: int, team: Team, is_superseded: Callable[[], bool]) -> T:
        """What `action` gives, as soon as the storage lets it.

        Args:
            action: may raise OSError, on all workers of the team or on none.
            step: of the checkpoint, for a person.
            team: who tries together; the first worker decides for all how long.
            is_superseded: asked while it pauses.

        Raises:
            StorageError: it failed for too long, or in a way that waiting cannot mend.
            Superseded: something newer waits.
        """
        attempt = 0
        while True:
            try:
                result = action()
            except OSError as error:
                self._pause(error, attempt, step, team, is_superseded)
            else:
                self._recovered()
                return result
            attempt += 1

    def _pause(self, error: OSError, attempt: int, step: int, team: Team, is_superseded: Callable[[], bool]) -> None:
        now = time.monotonic()
        self._since = since = self._since if self._since is not None else now
        kind = passing_trouble(error)
        if kind is not None and kind not in self._kinds:
            self._kinds.add(kind)
            self._tell("storage_trouble", trouble=kind, step=step, **self._facts(error))

        def decision() -> float | None:
            is_over = kind is None or now - since >= self._give_up_after_s or self._stopping.is_set()
            return None if is_over else min(delay_s(attempt), max(since + self._give_up_after_s - now, 0.05))

        pause_s = team.first(decision)
        if pause_s is None:
            self._since, self._kinds = None, set()  # whoever tries again after that has all the time again
            raise self._given_up(error, kind, step, now - since) from error
        end = now + pause_s
        while (left := end - time.monotonic()) > 0 and not self._stopping.wait(min(left, _LOOK_EVERY_S)):
            if team.size == 1 and is_superseded():
                raise Superseded

    def _recovered(self) -> None:
        if self._since is not None:
            self._tell("storage_recovered", seconds=time.monotonic() - self._since, where=self._store.where)
        self._since, self._kinds = None, set()

    def _facts(self, error: OSError) -> dict[str, Any]:
        return {
            "where": self._store.where,
            "error": str(error),
            "free_mb": self._store.free_mb(),
            "last_good_step": None if self.last_good is None else self.last_good.step,
        }

    def _given_up(self, error: OSError, kind: str | None, step: int, seconds: float) -> StorageError:
        facts = self._facts(error)
        free = "" if facts["free_mb"] is None else f"; {facts['free_mb']:.0f} MB are free there"
        good = self.last_good.path if self.last_good is not None else self._found_good()
        tried = "" if kind is None else f" for {seconds:.0f} s"
        return StorageError(
            f"the checkpoint of step {step} could not be written to {self._store.where}{tried}: {error}{free}; "
            f"the last good checkpoint is {good}",
            _NEXT_STEP.get(kind or "", f"correct it, for example the folder's permissions; {_AGAIN}"),
        )

    def _found_good(self) -> str:
        """What was there before this process wrote any."""
        try:
            saved = self._store.list()
        except OSError:
            return "unknown, since the storage cannot be listed"
        return saved[-1].path if saved else "none"
