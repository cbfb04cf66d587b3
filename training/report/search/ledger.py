"""What the search cost: time that made scores, and time that did not, by how the trials ended; money; why it ended."""

from collections.abc import Sequence

from training.event_text import duration
from training.journal import Event
from training.report.search.view import Search
from training.report.shell import Part
from training.report.text import esc, money, table

PARTS = {  # key of a trial's time -> key of the search's, what it is called, and its colour
    "seconds": ("useful_s", "useful", "useful"),
    "startup_s": ("startup_s", "start-up", "startup"),
    "waiting_s": ("waiting_s", "waiting", "waiting"),
    "recomputed_s": ("recomputed_s", "recomputed", "recomputed"),
}
STATES = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
MEANING = (
    "Useful time trained trials; start-up prepared data, models and processes; waiting is a slot without a trial or "
    "a trial without a verdict; recomputed is work that was lost with a machine and done again."
)


def ledger(search: Search) -> Part:
    """Bar, table, total; empty where the trials took no time that is known."""
    if not any(trial.get("seconds") for trial in search.trials):
        return Part()
    told = _told(search)
    has_all = any(trial.get("startup_s") is not None for trial in search.trials)
    sums = {name: _sum(search.trials, key) for key, (_, name, _) in PARTS.items()}
    if told:  # of the whole search, with what belongs to no trial
        sums = {name: float(told.get(key) or 0.0) for key, name, _ in PARTS.values()}
    device_s = float(told.get("device_s") or 0.0)
    idle_s = max(device_s - sum(sums.values()), 0.0)
    bars = [(kind, name, sums[name]) for _, name, kind in PARTS.values() if sums[name]]
    if idle_s >= 0.01 * device_s and idle_s > 0:
        bars.append(("idle", "other", idle_s))
    about = f"<p class='muted'>{MEANING}</p>" if has_all or told else ""
    return Part(f"{about}{_bar(bars)}{_table(search, told)}{_total(sums, device_s, told)}")


def _bar(bars: Sequence[tuple[str, str, float]]) -> str:
    total = sum(seconds for _, _, seconds in bars) or 1.0
    strip = "".join(f'<i class="{kind}" style="flex-grow:{1000 * seconds:.0f}"></i>' for kind, _, seconds in bars)
    keys = "".join(
        f'<li><i class="{kind}"></i>{name} <b>{duration(seconds)}</b> {seconds / total:.0%}</li>'
        for kind, name, seconds in bars
    )
    return f'<div class="timebar" aria-hidden="true">{strip}</div><ul class="key">{keys}</ul>'


def _told(search: Search) -> Event:
    """The books of the whole search, the newest that there are."""
    record = search.record
    return record.searched.get("ledger") or record.live.get("ledger") or record.last("ledger").get("ledger") or {}


def _table(search: Search, told: Event) -> str:
    """A row for each way in which trials end, one for all, and one for what the slots took in all."""
    known = {key for trial in search.trials for key in PARTS if trial.get(key) is not None}
    columns = {key: name for key, (whole, name, _) in PARTS.items() if key in known or whole in told}
    has_money = any(trial.get("usd") is not None for trial in search.trials) or told.get("usd") is not None
    rows = []
    for state, name in STATES.items():
        group = [trial for trial in search.trials if trial["state"] == state]
        if group:
            rows.append(_row(name, group, columns, has_money=has_money))
    rows.append([f"<b>{cell}</b>" for cell in _row("all trials", search.trials, columns, has_money=has_money)])
    if told:
        times = [duration(float(told.get(PARTS[key][0]) or 0.0)) for key in columns]
        rows.append(["slots in all", "", *times, *([money(told.get("usd"))] if has_money else [])])
    heads = ("", "trials", *columns.values(), *(["cost"] if has_money else []))
    return table(heads, rows, classes=("", *["num"] * (len(heads) - 1)))


def _row(name: str, group: Sequence[Event], columns: dict[str, str], *, has_money: bool) -> list[str]:
    times = [
        duration(_sum(group, key)) if any(trial.get(key) is not None for trial in group) else "–" for key in columns
    ]
    costs = [trial["usd"] for trial in group if trial.get("usd") is not None]
    return [name, f"{len(group):,}", *times, *([money(sum(costs) if costs else None)] if has_money else [])]


def _total(sums: dict[str, float], device_s: float, told: Event) -> str:
    if not device_s:
        return ""
    said = f"Devices were reserved for {duration(device_s)}; {sums['useful'] / device_s:.0%} of that was useful."
    if told.get("usd") is not None:
        said += f" In all {money(told['usd'])}."
    return f"<p>{esc(said)}</p>"


def _sum(trials: Sequence[Event], key: str) -> float:
    return sum(float(trial.get(key) or 0.0) for trial in trials)
