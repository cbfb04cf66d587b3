"""Rungs: how many trials reached each, how many were stopped there, and what it took to go on."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.event_text import counted
from training.journal import Event
from training.report.search.progress import fit_equal
from training.report.search.view import Search
from training.report.shell import Figure, Part, chart_grid, chart_part, figure, together
from training.report.text import esc, plotted, score, table

MAX_RUNGS = 20  # a scheduler that judges every epoch has too many for a table
MAX_DOTS = 400  # of each kind at a rung
MIN_BAR = 0.09  # of the axis: a shorter bar has no room for its number, which the table has


@dataclass(frozen=True)
class Rung:
    """A point at which trials are judged."""

    level: int
    went_on: tuple[tuple[str, float], ...]  # trial and its value here
    stopped: tuple[tuple[str, float], ...]
    num_failed: int  # after this rung and before the next
    num_open: int  # judged here, and not ended yet

    @property
    def num_reached(self) -> int:
        """Trials that were judged here."""
        return len(self.went_on) + len(self.stopped) + self.num_failed + self.num_open

    @property
    def share(self) -> float | None:
        """Of the trials that have ended, those that went on; None while all of them train."""
        num_ended = self.num_reached - self.num_open
        return len(self.went_on) / num_ended if num_ended else None


def rungs_of(search: Search) -> list[Rung]:
    """The rungs that trials reached, the lowest first."""
    judged = {trial["trial"]: _values(trial) for trial in search.trials}
    levels = sorted({level for values in judged.values() for level in values})
    running = [(each.get("level") or 0) for each in search.record.live.get("running") or ()]
    found = []
    for level in levels:
        at = [(trial, judged[trial["trial"]]) for trial in search.trials if level in judged[trial["trial"]]]
        went_on = [(trial["trial"], values[level]) for trial, values in at if _goes_on(trial, values, level)]
        stopped = [(trial["trial"], values[level]) for trial, values in at
                   if trial["state"] == "pruned" and max(values) == level]  # fmt: skip
        num_failed = sum(trial["state"] == "failed" and max(values) == level for trial, values in at)
        num_open = sum(reached >= level for reached in running)
        found.append(Rung(level, tuple(went_on), tuple(stopped), num_failed, num_open))
    return found


def _values(trial: Event) -> dict[int, float]:
    return {int(level): float(value) for level, value in trial.get("rungs") or () if value is not None}


def _goes_on(trial: Event, values: dict[int, float], level: int) -> bool:
    return max(values) > level or trial["state"] == "complete"


def rungs(search: Search) -> Part:
    """Chart and table; empty where no trial was judged at a rung."""
    found = rungs_of(search)
    if not found or not any(rung.stopped for rung in found) or len(found) > MAX_RUNGS:
        return Part()
    charts = chart_grid([
        chart_part("survivors", f"Trials that came to each rung ({search.unit}s done)", _survivors(search, found)),
        chart_part("cutoffs", "Their scores there; the line is the best one that was stopped", _cutoffs(search, found)),
    ])  # fmt: skip
    return together([charts, Part(_table(search, found))])


def _name(search: Search, level: int) -> str:
    return counted(level, search.unit)


def _survivors(search: Search, found: Sequence[Rung]) -> Figure:
    names = [_name(search, rung.level) for rung in found]
    bars = (
        ("went on", "@accent", [len(rung.went_on) for rung in found]),
        ("stopped here", "@faint", [len(rung.stopped) for rung in found]),
        ("failed later", "@bad", [rung.num_failed for rung in found]),
        ("still training", "@stage3", [rung.num_open for rung in found]),
    )
    shortest = MIN_BAR * max(rung.num_reached for rung in found)
    traces = [
        {"type": "bar", "name": name, "x": names, "y": counts, "marker": {"color": colour},
         "text": [str(count) if count >= shortest and count else "" for count in counts], "textposition": "inside",
         "textangle": 0, "insidetextanchor": "middle", "hovertemplate": f"%{{x}}: %{{y}} {name}<extra></extra>"}
        for name, colour, counts in bars if any(counts)
    ]  # fmt: skip
    drawn = figure(traces, "", "trials")
    drawn["layout"] |= {"barmode": "stack", "bargap": 0.45}
    drawn["layout"]["xaxis"]["type"] = "category"
    return drawn


def _cutoffs(search: Search, found: Sequence[Rung]) -> Figure:
    """A strip of dots a rung: on the left who was stopped, on the right who went on."""
    traces = [
        _strip(name, colour, symbol, shift, [(i, list(getattr(rung, kind))) for i, rung in enumerate(found)])
        for name, kind, colour, symbol, shift in (
            ("stopped here", "stopped", "@faint", "circle-open", -0.16),
            ("went on", "went_on", "@accent", "circle", 0.16),
        )
    ]
    drawn = figure(traces, "", search.metric)
    fit_equal(drawn, search, [value for rung in found for _, value in (*rung.stopped, *rung.went_on)])
    drawn["layout"]["xaxis"] |= {
        "tickvals": list(range(len(found))), "ticktext": [_name(search, rung.level) for rung in found],
        "range": [-0.5, len(found) - 0.5],
    }  # fmt: skip
    drawn["layout"]["shapes"] = [
        {"type": "line", "x0": i - 0.4, "x1": i + 0.4, "y0": cut, "y1": cut, "line": {"color": "@second", "width": 2}}
        for i, rung in enumerate(found)
        if (cut := _best_stopped(search, rung)) is not None
    ]
    return drawn


def _strip(
    name: str, colour: str, symbol: str, shift: float, dots: list[tuple[int, list[tuple[str, float]]]]
) -> Figure:
    kept = [(i, values[:: max(len(values) // MAX_DOTS, 1)]) for i, values in dots]
    return {
        "type": "scatter", "mode": "markers", "name": name,
        "x": [i + shift + 0.1 * (k % 5 - 2) / 2 for i, values in kept for k in range(len(values))],
        "y": [value for _, values in kept for _, value in values],
        "text": [plotted(trial) for _, values in kept for trial, _ in values],
        "marker": {"color": colour, "symbol": symbol, "size": 6},
        "hovertemplate": f"%{{text}}: %{{y:.4f}}, {name}<extra></extra>",
    }  # fmt: skip


def _best_stopped(search: Search, rung: Rung) -> float | None:
    pick = max if search.mode == "max" else min
    return pick((value for _, value in rung.stopped), default=None)


def _table(search: Search, found: Sequence[Rung]) -> str:
    pick = min if search.mode == "max" else max
    has_open = any(rung.num_open for rung in found)
    rows = [
        (
            esc(_name(search, rung.level)), f"{rung.num_reached:,}", f"{len(rung.went_on):,}",
            f"{len(rung.stopped):,}", *([f"{rung.num_open:,}"] if has_open else []),
            "–" if rung.share is None else f"{rung.share:.0%}", score(_best_stopped(search, rung)),
            score(pick((value for _, value in rung.went_on), default=None)),
        )
        for rung in found
    ]  # fmt: skip
    heads = ("judged after", "reached it", "went on", "stopped", *(["still training"] if has_open else []),
             "share of the ended" if has_open else "share", "best of the stopped", "worst that went on")  # fmt: skip
    return table(heads, rows, classes=("", *["num"] * (len(heads) - 1)))
