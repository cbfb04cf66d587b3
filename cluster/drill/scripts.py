"""When blows fall: at drawn steps, or as a recorded trace has it."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from cluster.drill.outcome import Outcome
from cluster.drill.plan import Kind, Planned
from cluster.drill.storm import Storm
from cluster.drill.trace import Change
from training.progress import Progress

ASK_EVERY_S = 0.25  # to judge a blow reads the whole journal


class Calm:
    """Nothing happens."""

    num_missed = 0

    def act(self, storm: Storm) -> None:
        """Nothing."""


class Drawn:
    """The next blow falls when its step is reached, and not before the run has come back from the one before."""

    def __init__(self, planned: Sequence[Planned]) -> None:
        self._coming = deque(planned)
        self._told, self._ask_at = 0, 0.0

    @property
    def num_missed(self) -> int:
        """Blows that never fell: the training was over."""
        return len(self._coming)

    def act(self, storm: Storm) -> None:
        """Let it fall."""
        if self._told < len(storm.blows):
            if not storm.is_settled or time.monotonic() < self._ask_at:
                return
            self._ask_at = time.monotonic() + ASK_EVERY_S
            outcome = storm.outcomes()[-1]
            if outcome.seconds_to_resume is None:
                return
            tell(storm.progress, outcome)
            self._told += 1
        if self._coming and storm.watch.step >= self._coming[0].at_step:
            planned = self._coming.popleft()
            storm.strike(planned.kind, planned.draw)


class Replay:
    """Machines come and go by the clock, whatever the training does. The clock starts with its first step."""

    num_missed = 0  # a trace has no end

    def __init__(
        self, changes: Iterable[Change], seed: int, *, with_notice: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._changes = iter(changes)
        self._next = next(self._changes)
        self._draws = random.Random(seed)
        self._with_notice = with_notice
        self._zero: float | None = None
        self._num_nodes: int | None = None

    def act(self, storm: Storm) -> None:
        """Bring the machines to what the trace has now."""
        if self._zero is None:
            if storm.watch.step <= 0:
                return
            self._zero = self._clock()
        ahead_s = storm.rules.notice_s if self._with_notice else 0.0
        now = self._clock() - self._zero
        while now >= self._next.at_s - (ahead_s if self._is_loss else 0.0):
            self._num_nodes, self._next = self._next.num_nodes, next(self._changes)
            self._bring(storm)  # each in turn: a machine that is soon there again was lost all the same

    @property
    def _is_loss(self) -> bool:
        """Told ahead of its time, so that the machine ends at the trace's moment."""
        return self._num_nodes is not None and self._next.num_nodes < self._num_nodes

    def _bring(self, storm: Storm) -> None:
        wanted = self._num_nodes or 0
        while len(storm.standing) > wanted:
            self._lose(storm)
        while len(storm.standing) < wanted:
            storm.add_node()

    def _lose(self, storm: Storm) -> None:
        kind = Kind.NOTICE if self._with_notice else Kind.KILL_NODE
        node = storm.standing[int(self._draws.random() * len(storm.standing))]
        storm.lose(kind, node, is_replaced=False)


def tell(progress: Progress, outcome: Outcome) -> None:
    """One line about what a blow cost."""
    if outcome.seconds_to_resume is not None:
        verdict = "" if outcome.ok else f"  NOT OK: {outcome.problem}"
        progress.note(
            f"{'':>3} goes on at step {outcome.from_step} after {outcome.seconds_to_resume:.1f} s, "
            f"{outcome.steps_lost} steps lost{verdict}"
        )
