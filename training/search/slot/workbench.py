"""What a slot does between two words with the driver: its trials in turn, alone or as lanes of a stack. No Ray here."""

import math
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Protocol

from training.search.messages import Assignment, Cloning, Heard, Orders, Told
from training.search.slot.solo import SoloRun
from training.search.slot.surroundings import Surroundings

TELL_EVERY_S = 1.0
AHEAD_S = 0.5  # of work that a slot may have before it, so that it need not ask after every short trial
MAX_AHEAD = 32


class Run(Protocol):
    """One trial, or several that train together."""

    is_alone: bool  # it never holds more than one

    @property
    def trials(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def num_busy(self) -> int:
        """Of them that have not ended."""

    @property
    def can_advance(self) -> bool:
        """Whether one of them waits for nothing."""

    def advance(self) -> None:
        """One more epoch."""

    def heard(self) -> list[Heard]:
        """What is new since the last time."""

    def go_on(self, trial: str, until: int) -> None:
        """It was judged, and stays."""

    def clone(self, trial: str, cloning: Cloning) -> None:
        """Go on from another trial's weights."""

    def end(self, trial: str, *, keep: bool) -> None:
        """It has ended."""

    def leave(self) -> None:
        """Save all of them, and make no more steps."""


class Stacks(Protocol):
    """Decides which trials train together."""

    def admit(self, assignment: Assignment, runs: list[Run]) -> Run | None:
        """The run that has taken it in, a new one or one of these; None where it trains by itself."""

    @property
    def lanes(self) -> int:
        """Trials that train together; 1 where none do."""

    def notes(self) -> tuple[tuple[str, str], ...]:
        """What is new to say of it: what about, and a line."""


class Workbench:
    """The trials of one slot."""

    def __init__(
        self, around: Surroundings, stacks: Stacks | None = None,
        alone: Callable[[Assignment, Surroundings], Run] = SoloRun,
    ) -> None:  # fmt: skip
        """
        Args:
            around: what all trials have around them.
            stacks: decides which train together; None: each by itself.
            alone: what trains one by itself.
        """
        self._around, self._stacks, self._alone = around, stacks, alone
        self.incarnation = uuid.uuid4().hex
        self._runs: list[Run] = []
        self._queue: deque[Assignment] = deque()
        self._orders = Orders()
        self._is_new = False  # the orders have had no effect yet
        self._trial_s = math.inf  # that a trial takes of this slot
        self._ended_at: float | None = None
        self._idle_since = time.perf_counter()
        self._admitting_s = 0.0  # since the last word, finding out which trials go together
        self.is_over = False

    def obey(self, orders: Orders) -> None:
        """Take orders; they have their effect at the next `work`, where an error of theirs is heard of."""
        self._orders = orders
        self._is_new = True
        self._around.watched.deadline = orders.deadline

    def _follow(self, orders: Orders) -> None:
        for trial, until in orders.go_on.items():
            self._run_of(trial).go_on(trial, until)
        for trial, cloning in orders.clone.items():
            self._run_of(trial).clone(trial, cloning)
        for trial in orders.stop:
            self._end(trial, keep=False)
        for trial in orders.keep:
            self._end(trial, keep=True)
        self._queue.extend(orders.start)
        self.is_over = orders.is_over

    def work(self) -> Told:
        """Until there is something that the driver must hear."""
        began = time.perf_counter()
        waiting_s = began - self._idle_since
        self._admitting_s = 0.0
        if self._is_new:
            self._is_new = False
            self._follow(self._orders)
        heard: dict[str, Heard] = {}
        if not self._runs and not self._queue and not self.is_over:
            time.sleep(self._orders.wait_s)
        self._work(heard, began)
        left = self._leave(heard) if self._must_leave() else ""
        self._idle_since = time.perf_counter()
        return Told(
            self.incarnation, heard=tuple(heard.values()), wants=0 if left or self.is_over else self._wants(),
            waiting_s=waiting_s, startup_s=self._admitting_s, notes=self._notes(), left=left,
        )  # fmt: skip

    def _work(self, heard: dict[str, Heard], began: float) -> None:
        while not self._must_leave():
            self._admit()
            # It may have ended without a step: where it was resumed, or by an order.
            is_news = [self._hear(waiting, heard) for waiting in list(self._runs) if not waiting.can_advance]
            run = self._next()
            if run is None or (any(is_news) and self._must_tell(heard, time.perf_counter() - began)):
                return
            self._around.watched.trials = run.trials
            run.advance()
            self._around.watched.beats += 1
            self._around.watched.trials = ()
            self._hear(run, heard)
            if self._must_tell(heard, time.perf_counter() - began):
                return

    def _notes(self) -> tuple[tuple[str, str], ...]:
        """What is new for the person."""
        mine = tuple(self._around.notes)
        self._around.notes.clear()
        return mine + (self._stacks.notes() if self._stacks else ())

    def close(self) -> None:
        """Finish what is being written."""
        for run in self._runs:
            for trial in run.trials:
                run.end(trial, keep=False)
        self._runs = []

    def _next(self) -> Run | None:
        """Whose turn it is: stacks go in a circle; of trials by themselves one is trained to its end."""
        ready = [run for run in self._runs if run.can_advance]
        if not ready:
            return None
        run = ready[0]
        if not run.is_alone:
            self._runs.remove(run)
            self._runs.append(run)
        return run

    def _admit(self) -> None:
        """Stackable trials into their stacks; another one when none trains by itself."""
        began = time.perf_counter()
        left: deque[Assignment] = deque()
        while self._queue:
            assignment = self._queue.popleft()
            run = self._stacked(assignment)
            if run is None and any(each.is_alone and each.num_busy for each in self._runs):
                left.append(assignment)
            elif run is None:
                self._runs.insert(0, self._alone(assignment, self._around))
        self._queue = left
        self._admitting_s += time.perf_counter() - began

    def _stacked(self, assignment: Assignment) -> Run | None:
        if self._stacks is None or assignment.alone:
            return None
        watched = self._around.watched
        watched.trials = (assignment.trial,)  # whose model may be built and measured: that can hang, and take memory
        try:
            run = self._stacks.admit(assignment, self._runs)
        finally:
            watched.trials = ()
        if run is not None and run not in self._runs:
            self._runs.append(run)
        return run

    def _hear(self, run: Run, heard: dict[str, Heard]) -> bool:
        """Whether there was something new."""
        news = run.heard()
        for each in news:
            heard[each.trial] = _joined(heard[each.trial], each) if each.trial in heard else each
            if each.state in ("finished", "failed"):
                self._measure()
            if each.state in ("failed", "left"):
                self._end(each.trial, keep=False)
        return bool(news)

    def _must_tell(self, heard: dict[str, Heard], seconds: float) -> bool:
        """A verdict is waited for, the work is done, or the driver has heard nothing for a while."""
        states = {each.state for each in heard.values()}
        if "judged" in states or seconds >= TELL_EVERY_S:
            return True
        has_ended = bool(states & {"finished", "failed"})
        return has_ended and (not self._queue or seconds >= AHEAD_S)

    def _must_leave(self) -> bool:
        return self._around.notices.is_raised or self._around.watched.is_over()

    def _leave(self, heard: dict[str, Heard]) -> str:
        for run in list(self._runs):
            run.leave()
            self._hear(run, heard)
        for assignment in self._queue:
            heard[assignment.trial] = Heard(assignment.trial, "left", assignment.known)
        self._queue.clear()
        self.is_over = True
        return self._around.notices.reason or "the time is up"

    def _measure(self) -> None:
        now = time.perf_counter()
        if self._ended_at is not None:
            spent = now - self._ended_at
            self._trial_s = spent if math.isinf(self._trial_s) else 0.7 * self._trial_s + 0.3 * spent
        self._ended_at = now

    def _wants(self) -> int:
        """Trials that it could take: as many as keep it busy until the next word."""
        num_lanes = self._stacks.lanes if self._stacks else 1
        ahead = 0 if math.isinf(self._trial_s) else min(int(AHEAD_S / max(self._trial_s, 1e-3)), MAX_AHEAD)
        have = sum(run.num_busy for run in self._runs) + len(self._queue)
        return max(max(num_lanes, 1 + ahead) - have, 0)

    def _run_of(self, trial: str) -> Run:
        return next(run for run in self._runs if trial in run.trials)

    def _end(self, trial: str, *, keep: bool) -> None:
        run = self._run_of(trial)
        run.end(trial, keep=keep)
        if run.is_alone or not run.trials:
            self._runs.remove(run)


def _joined(earlier: Heard, later: Heard) -> Heard:
    """Two words of one trial as one."""
    restored = earlier.restored_s if later.restored_s is None else later.restored_s
    return Heard(
        later.trial, later.state, later.level, later.values or earlier.values, earlier.curve + later.curve, later.loss,
        later.parts, later.epochs, earlier.useful_s + later.useful_s, earlier.startup_s + later.startup_s, restored,
        later.cause, later.lanes, max(earlier.saved_bytes, later.saved_bytes), later.share,
    )  # fmt: skip
