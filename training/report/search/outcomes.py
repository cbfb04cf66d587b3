"""Trials that did not finish: failures by cause, and those stopped early by reason."""

import re
from collections.abc import Sequence

import numpy as np

from training.event_text import duration
from training.journal import Event
from training.report.search.view import Search
from training.report.shell import Part
from training.report.text import esc, setting, table
from training.search.space.values import is_number, same

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?")
MAX_GROUPS = 30
MIN_SHARED = 3  # trials below which what they have in common is chance


def outcomes(search: Search) -> Part:
    """Both tables; empty where all trials finished."""
    failed = [trial for trial in search.trials if trial["state"] == "failed"]
    stopped = [trial for trial in search.trials if trial["state"] == "pruned"]
    parts = _table(search, "Failures by cause", "cause", failed, shows_common=True)
    return Part(parts + _table(search, "Stopped early, by reason", "reason", stopped, shows_common=False))


def groups_of(trials: Sequence[Event], key: str) -> list[tuple[str, list[Event]]]:
    """Trials by what is said of them, numbers aside, the largest group first; the words are those of the first."""
    groups: dict[str, list[Event]] = {}
    for trial in trials:
        groups.setdefault(NUMBER.sub("#", str(trial.get(key) or "")), []).append(trial)
    missing = f"no {'cause' if key == 'cause' else 'reason'} recorded"
    found = [(str(group[0].get(key) or missing), group) for group in groups.values()]
    return sorted(found, key=lambda item: -len(item[1]))


def _table(search: Search, title: str, what: str, trials: Sequence[Event], *, shows_common: bool) -> str:
    groups = groups_of(trials, "cause" if what == "cause" else "stopped")
    if not groups or (what == "reason" and not any(trial.get("stopped") for trial in trials)):
        return ""
    rows = []
    for words, group in groups[:MAX_GROUPS]:
        names = ", ".join(trial["trial"] for trial in group[:8]) + (" …" if len(group) > 8 else "")
        said = (
            words
            if len(group) == 1 or not NUMBER.search(words)
            else f"{words} (the numbers are of {group[0]['trial']})"
        )
        common = [esc(in_common(search, group))] if shows_common else []
        rows.append(
            (f"{len(group):,}", esc(said), *common, duration(sum(t.get("seconds") or 0.0 for t in group)), esc(names))
        )
    heads = ("trials", what, *(["in common"] if shows_common else []), "time", "which")
    kinds = ("num", "cause", *(["cause"] if shows_common else []), "num", "cause")
    more = f"<p class='muted'>and {len(groups) - MAX_GROUPS} more</p>" if len(groups) > MAX_GROUPS else ""
    return f"<h3>{title}</h3>{table(heads, rows, classes=kinds)}{more}"


def in_common(search: Search, group: Sequence[Event]) -> str:
    """Settings that hold in the whole group and seldom in the other trials; empty for few trials."""
    if len(group) < MIN_SHARED:
        return ""
    inside = {trial["trial"] for trial in group}
    others = [trial for trial in search.trials if trial["trial"] not in inside]
    found = []
    for key in search.keys:
        values = [trial["params"].get(key) for trial in group]
        rest = [trial["params"][key] for trial in others if key in trial["params"]]
        if any(value is None for value in values) or not rest:
            continue
        if all(same(value, values[0]) for value in values):
            if sum(same(value, values[0]) for value in rest) < 0.5 * len(rest):
                found.append(f"{key} is {setting(values[0])}")
        elif all(map(is_number, [*values, *rest])):
            found += _edge(key, values, rest)
    return "; ".join(found)


def _edge(key: str, values: Sequence[float], rest: Sequence[float]) -> list[str]:
    """All of the group lie beyond three quarters of the others."""
    if min(values) >= np.quantile(rest, 0.75):
        return [f"{key} {setting(min(values))} or more"]
    if max(values) <= np.quantile(rest, 0.25):
        return [f"{key} {setting(max(values))} or less"]
    return []
