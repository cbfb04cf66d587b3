"""What the search is doing now: how far it is, and the trials that train at this moment."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from training.event_text import counted
from training.report.search.view import Search
from training.report.shell import Part
from training.report.text import esc, score, setting, table


def running(search: Search) -> Part:
    """Empty where nothing is known of a search that goes on."""
    live = search.record.live
    if not live:
        return Part()
    num_done, num_trials = int(live.get("num_done") or 0), int(live.get("num_trials") or 0)
    share = num_done / num_trials if num_trials else 0.0
    trials = live.get("running") or []
    said = f"{num_done:,} of {num_trials:,} trials have ended, {counted(len(trials), 'trial')} in training"
    bar = f'<progress max="1" value="{share:.4f}" aria-label="trials that have ended"></progress>'
    at = f"<p class='muted'>as of {_clock(live.get('time'))}</p>" if live.get("time") else ""
    return Part(f"<p>{esc(said)}</p>{bar}{_table(search, trials)}{at}")


def _clock(time: float | None) -> str:
    return f"{datetime.fromtimestamp(time or 0.0, UTC):%H:%M:%S} UTC"


def _table(search: Search, trials: list[Mapping[str, Any]]) -> str:
    if not trials:
        return ""
    keys = [key for key in search.keys or _keys(trials) if any(key in (t.get("params") or {}) for t in trials)]
    by_level = search.level != "epochs"
    rows = [
        (
            esc(trial.get("trial")), esc(trial.get("slot") or "–"), _number(trial.get("epoch")),
            *([_number(trial.get("level"))] if by_level else []), score(trial.get("score")),
            *(esc(setting((trial.get("params") or {}).get(key, "–"))) for key in keys),
        )
        for trial in trials
    ]  # fmt: skip
    heads = ("trial", "slot", "epoch", *([f"{search.unit}s done"] if by_level else []), search.metric, *keys)
    return table(heads, rows, classes=("", "", *["num"] * (len(heads) - 2)))


def _keys(trials: list[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for trial in trials for key in trial.get("params") or {}))


def _number(value: Any) -> str:
    return "–" if value is None else esc(value)
