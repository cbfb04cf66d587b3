"""The page's sections on a search, in the order in which a person asks: what is best, can it be believed, and why."""

from collections.abc import Iterable, Sequence
from typing import Any

from training.event_text import counted
from training.journal import Event
from training.report.search.best import best
from training.report.search.curves import curves
from training.report.search.doubt import doubt
from training.report.search.importances import importances
from training.report.search.ledger import ledger
from training.report.search.listing import listing
from training.report.search.outcomes import NUMBER, outcomes
from training.report.search.parallel import parallel
from training.report.search.pareto import pareto
from training.report.search.progress import progress
from training.report.search.rungs import rungs
from training.report.search.running import running
from training.report.search.slices import slices
from training.report.search.view import Search
from training.report.shell import Part, chart_grid, together
from training.report.text import esc, facts

IMPORTANCE = (
    "Shares add up to 100 % (PED-ANOVA). They say which settings must be right for a trial to be among the best, by "
    "how differently the best ones and all others are spread over a setting's values; not which value is best, see "
    "the slices for that. The tick is what a setting without any effect may show by chance with so few trials: a bar "
    "that does not pass it says nothing. Trials that were stopped count with the score that they had."
)
MAX_NOTES = 12
STACKING = "stacking"  # the kind of such notes
OF_STACKING = ("stacked model", "trials train one at a time")
RUNGS = (
    "At a rung a trial is judged against those that were there before it. So some of the early ones went on with a "
    "score that was stopped later."
)
FRONT = (
    "No trial on the front is beaten by another in everything. The star has the best score; to take another one, "
    "give its settings to an experiment of its own."
)


def search(found: Search) -> Part:
    """Everything on a run's search; empty where there was none."""
    if not found.trials and not found.record.last("search"):
        return Part()
    shown, first = importances(found) if found.scored else (Part(), [])
    settings = [
        shown.under("Importance", IMPORTANCE if shown.figures else ""),
        slices(found, first).under("Score by setting", _dots(found)),
        chart_grid([parallel(found)]).under("All settings together"),
    ]
    return together([
        together([Part(_facts(found)), running(found).under("Now"), best(found)]).section("search", "Search"),
        doubt(found).section("doubt", "How far to believe it"),
        pareto(found).section("pareto", "Several objectives", FRONT),
        _course(found).section("course", "How it went"),
        together(settings).section("settings", "Settings"),
        outcomes(found).section("outcomes", "Trials that did not finish"),
        ledger(found).section("ledger", "Time and money"),
        listing(found).section("trials", "Trials") if found.trials else Part(),
    ])  # fmt: skip


def _course(found: Search) -> Part:
    charts = chart_grid([*(progress(found) if found.scored else ()), curves(found)])
    return together([charts, rungs(found).under("Rungs", RUNGS)])


def _dots(found: Search) -> str:
    star = f", the star is {esc(found.best)}" if found.best else ""
    return f"Upwards: {esc(found.metric)}. A dot is a trial: filled ones finished, open ones were stopped early{star}."


def _facts(found: Search) -> str:
    record, told = found.record, found.record.last("search")
    counts = ", ".join(
        f"{sum(trial['state'] == state for trial in found.trials)} {state}"
        for state in ("complete", "pruned", "failed")
    )
    notes = notes_of(record.events)
    stacking = notes.pop(STACKING, []) or [_stacking(told.get("fuse"))]
    others = [note for kind in notes.values() for note in kind][-MAX_NOTES:]
    pairs = [("how", _how(found, told)), *_listed("stacking", stacking), ("ended", record.searched.get("ended")),
             *_listed("note", others)]  # fmt: skip
    shown = facts((name, esc(value)) for name, value in pairs if value)
    return f"<p class='muted'>{counted(len(found.trials), 'trial')}: {counts}</p>{shown}"


def notes_of(events: Iterable[Event]) -> dict[str, list[str]]:
    """What was noted, by kind: what differs in numbers alone is of one kind, and so is all on stacking.

    Of a kind that several executions noted, only what the newest of them said stands.
    """
    notes: dict[str, list[str]] = {}
    fresh: set[str] = set()  # kinds that this execution noted
    for event in events:
        if event.get("event") in ("started", "search"):
            fresh = set()
        if event.get("event") != "search_note":
            continue
        note = str(event["note"])
        kind = STACKING if any(words in note for words in OF_STACKING) else NUMBER.sub("#", note)
        told = notes.get(kind, []) if kind in fresh else []
        notes.pop(kind, None)
        notes[kind] = [*told, *([note] if note not in told else [])]
        fresh.add(kind)
    return notes


def _stacking(fuse: Any) -> str:
    """What the experiment says of it; that it is decided by measuring says nothing."""
    match fuse:
        case None | "auto":
            return ""
        case bool():
            return f"{'on' if fuse else 'off'}, as the experiment says"
    return str(fuse)


def _listed(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    return [(name if i == 0 else "", value) for i, value in enumerate(values)]


def _how(found: Search, told: Event) -> str:
    """Who proposed, who stopped, on what."""
    if not told:
        return ""
    levels = [int(level) for level in told.get("rungs") or ()]
    listed = f"{', '.join(map(str, levels[:-1]))} and {levels[-1]}" if len(levels) > 1 else "".join(map(str, levels))
    judged = f", judged after {listed} {found.unit}s" if 0 < len(levels) <= 8 else ""
    slots = f", in {counted(told['num_slots'], 'slot')}" if told.get("num_slots") else ""
    stopped = "none stopped early" if told.get("scheduler") == "none" else f"stopped by {told.get('scheduler')}{judged}"
    return f"proposed by {told.get('sampler')}, {stopped}{slots}"
