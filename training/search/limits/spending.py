"""Time and money of a running search, and when there is enough of it: the ledger and the budget with a clock."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.journal import Journal
from training.metric_names import Mode, is_better
from training.search.limits.budget import End, Refit, Spend, Standing, decide, since_best, too_small
from training.search.limits.ledger import Ledger, totals_before
from training.search.messages import Heard, Told
from training.search_config import SearchConfig

WRITE_EVERY_S = 30.0  # a killed driver's books are at most a second behind in live.json, and this much without it


class Spending:
    """Of one execution, with what earlier ones spent."""

    def __init__(
        self, config: SearchConfig, journal: Journal, live: Path, modes: Sequence[Mode], num_devices: float,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """
        Args:
            config: the search.
            journal: of the run.
            live: `trials/live.json`, which a killed driver may have left.
            modes: of the objectives.
            num_devices: that one slot takes.
            clock: unix time.
        """
        self._config, self._journal, self._modes, self._clock = config, journal, modes, clock
        self._num_devices = num_devices
        events = list(journal.events("search", "trial", "ledger", "searched"))
        self._ledger = Ledger(totals_before(events, _left_in(live)), clock())
        ended = list({event["trial"]: event for event in events if event["event"] == "trial"}.values())
        self._num_ended = 0
        self._since_best: int | None = None  # trials; None: to be counted, which takes a look at all of them
        self._values: list[list[float] | None] = []  # of trials that ended since the first that was complete
        for event in ended:
            self._note(_values_of(event, config))
        self._best = _best_of([event.get("score") for event in ended if event["state"] == "complete"], modes[0])
        self._longest_s = max((float(event.get("seconds") or 0.0) for event in ended), default=0.0)
        self._written_at = self._began_at = clock()

    def slot_started(self, slot: str, age_s: float) -> None:
        """It holds its devices since so long."""
        self._ledger.slot_started(slot, self._num_devices, self._clock() - age_s)

    def slot_ended(self, slot: str) -> None:
        """It gave them back."""
        self._ledger.slot_ended(slot, self._clock())

    def told(self, told: Told) -> None:
        """What a slot's own time went into, beside its trials'."""
        self._ledger.spent(self._num_devices, waiting_s=told.waiting_s, startup_s=told.startup_s)

    def heard(self, heard: Heard, recomputed_s: float) -> None:
        """What a trial took, and what of it was lost."""
        self._ledger.spent(
            self._num_devices, useful_s=heard.useful_s - recomputed_s, startup_s=heard.startup_s,
            recomputed_s=recomputed_s,
        )  # fmt: skip

    def trial_ended(self, values: Sequence[float] | None, seconds: float) -> None:
        """A trial ended; `values` of the objectives of one that was trained to its end."""
        self._note(list(values) if values else None)
        self._longest_s = max(self._longest_s, seconds)
        if values and is_better(values[0], self._best, self._modes[0]):
            self._best = values[0]

    def recall(self, event: Mapping[str, Any]) -> None:
        """A trial that ended under an earlier driver, and came late into the journal."""
        values = _values_of(event, self._config)
        self.trial_ended(values, float(event.get("seconds") or 0.0))

    def _note(self, values: list[float] | None) -> None:
        self._num_ended += 1
        self._since_best = None
        if values is not None or self._values:  # stopped ones before it say nothing of patience
            self._values.append(values)

    def _standing(self) -> Standing:
        if self._since_best is None and self._config.budget.patience_trials is not None:
            self._since_best = since_best(self._values, self._modes)
        return Standing(
            self._ledger.totals(self._clock()), self._ledger.devices_held, self._num_ended, self._best,
            self._since_best or 0,
        )  # fmt: skip

    @property
    def _refit(self) -> Refit:
        """The final training: that of the best trial is kept, but where each trial was several trainings."""
        replicates = self._config.replicates
        return Refit(self._longest_s / replicates if replicates > 1 else 0.0, self._num_devices)

    def why_to_end(self) -> str:
        """The reason to end, in words; empty where there is none."""
        decision = decide(self._config, self._standing(), self._modes[0], self._refit)
        return decision.reason if isinstance(decision, End) else ""

    def deadline(self) -> float | None:
        """Unix time until which slots may work as far as is known now."""
        decision = decide(self._config, self._standing(), self._modes[0], self._refit)
        if isinstance(decision, Spend) and decision.seconds is not None:
            return self._clock() + decision.seconds
        return None

    def too_small(self, trial_s: float, start_s: float = 0.0) -> str:
        """A sentence where what is left of the budget does not do for one more trial of so many seconds, in a slot that
        starts in so many."""
        return too_small(self._config, self._standing(), trial_s, self._num_devices, self._refit, start_s) or ""

    @property
    def elapsed_s(self) -> float:
        """Of this execution."""
        return self._clock() - self._began_at

    def fields(self) -> dict[str, Any]:
        """The ledger now."""
        return dict(self._ledger.totals(self._clock()).fields(self._config.usd_per_device_hour))

    def keep_books(self) -> None:
        """Into the journal, now and then."""
        if self._clock() - self._written_at >= WRITE_EVERY_S:
            self.close()

    def close(self) -> None:
        """Into the journal."""
        self._written_at = self._clock()
        self._journal.append("ledger", ledger=self.fields())


def _left_in(live: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(live.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None  # no driver was killed here, or it left nothing that can be read: the journal has the rest
    return found if isinstance(found, Mapping) else None


def _values_of(event: Mapping[str, Any], config: SearchConfig) -> list[float] | None:
    values = event.get("values") or {}
    if event["state"] != "complete" or event.get("score") is None:
        return None
    found = [values.get(name) for name in config.objectives]
    return [float(event["score"] if value is None else value) for value in found]


def _best_of(scores: Sequence[float | None], mode: Mode) -> float | None:
    best = None
    for score in scores:
        if score is not None and is_better(score, best, mode):
            best = score
    return best
