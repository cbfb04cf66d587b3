"""The journal's side of a search: each trial as it ended, what runs now, and whose weights stay."""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from training.progress import TrialDone
from training.progress import TrialState as State
from training.run_folder import RunFolder, write_text
from training.search.limits.ledger import usd_of
from training.search.study import DONE, STATES, name_of, score_of
from training.search_config import SearchConfig

if TYPE_CHECKING:
    from training.search.open_trial import OpenTrial

LIVE_FILE = "live.json"
LIVE_EVERY_S = 1.0


class SearchRecord:
    """Of one execution of a search."""

    def __init__(self, run: RunFolder, search: SearchConfig, num_devices: float) -> None:
        """
        Args:
            run: whose journal.
            search: its settings.
            num_devices: that one slot takes, for the price of a trial.
        """
        self._run, self._search, self._num_devices = run, search, num_devices
        self._live_at = 0.0
        self._recorded = {event["trial"] for event in run.journal.events("trial")}

    def note(self, text: str) -> None:
        """Something that the record should say of the search as a whole."""
        self._run.journal.append("search_note", note=text)

    def trial(self, opened: "OpenTrial", state: State, *, cause: str, stopped: str) -> TrialDone:
        """A trial ended."""
        score = opened.values[0] if opened.values and math.isfinite(opened.values[0]) else None
        told = TrialDone(
            trial=opened.name, state=state, params=opened.params, score=score, epochs=opened.epochs,
            seconds=round(opened.useful_s, 4), cause=cause or None,
        )  # fmt: skip
        spent_s = opened.useful_s + opened.startup_s  # the first holds what was lost, too
        more: dict[str, Any] = {
            "values": dict(zip(self._search.objectives, opened.values, strict=False)), "stopped": stopped or None,
            "curve": opened.curve, "rungs": opened.rungs, "startup_s": round(opened.startup_s, 4),
            "recomputed_s": round(opened.recomputed_s, 4),
            "usd": usd_of(spent_s, self._num_devices, self._search.usd_per_device_hour), "slot": opened.slot,
            "lanes": opened.lanes, "began": opened.began, "source": opened.source, "attempts": opened.attempts,
        }  # fmt: skip
        if opened.parts:
            more["replicates"] = [{"fold": part.fold, "seed": part.seed, "score": part.score} for part in opened.parts]
        if opened.lineage:
            more["lineage"] = opened.lineage
        self._run.journal.append("trial", **vars(told), **more)
        return told

    def complete(
        self, trials: Sequence[FrozenTrial], params_of: Callable[[FrozenTrial], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """A driver may have died between telling the study and the journal; the events that were missing."""
        missing = []
        for trial in trials:
            name = name_of(trial.number)
            if trial.state not in DONE or name in self._recorded:
                continue
            missing.append(self._event_of(name, trial, params_of(trial)))
            self._run.journal.append("trial", **missing[-1])
        return missing

    def _event_of(self, name: str, trial: FrozenTrial, params: dict[str, Any]) -> dict[str, Any]:
        attributes = trial.user_attrs
        spent = attributes.get("spent", {})
        values = trial.values or attributes.get("values") or ()
        curve = [math.nan if score is None else score for score in attributes.get("curve", [])]
        seconds, startup_s = spent.get("useful_s", 0.0), spent.get("startup_s", 0.0)
        event = {
            "trial": name, "state": STATES[trial.state], "params": params, "score": score_of(trial),
            "epochs": attributes.get("epochs", len(curve)), "seconds": seconds, "cause": attributes.get("cause"),
            "values": dict(zip(self._search.objectives, values, strict=False)),
            "stopped": attributes.get("stopped"), "curve": curve,
            "rungs": [known[:2] for known in attributes.get("heard", [])], "startup_s": startup_s,
            "recomputed_s": spent.get("recomputed_s", 0.0),
            "usd": usd_of(seconds + startup_s, self._num_devices, self._search.usd_per_device_hour),
            "attempts": spent.get("attempts", 1),
        }  # fmt: skip
        parts = [dict(zip(("fold", "seed", "score"), part, strict=True)) for part in attributes.get("parts", [])]
        more = {"replicates": parts, "lineage": attributes.get("lineage")}
        return event | {key: value for key, value in more.items() if value}

    def live(self, running: "Iterable[OpenTrial]", num_done: int, ledger: Callable[[], dict[str, Any]]) -> None:
        """What runs now, for whoever watches; at most once a second."""
        now = time.time()
        if now - self._live_at < LIVE_EVERY_S:
            return
        self._live_at = now
        rows = [
            {
                "trial": opened.name, "slot": opened.slot, "level": opened.level, "epoch": opened.epochs,
                "score": opened.values[0] if opened.values and math.isfinite(opened.values[0]) else None,
                "params": opened.params, "fold": len(opened.parts) or None,
            }
            for opened in running
            if opened.slot
        ]  # fmt: skip
        live = {"time": now, "running": rows, "num_done": num_done, "num_trials": self._search.trials}
        write_text(self._run.trials / LIVE_FILE, json.dumps({**live, "ledger": ledger()}))
