"""Several objectives: the trials that no other beats in everything, as charts and as a table."""

import math
from collections.abc import Sequence
from itertools import combinations

from training.event_text import counted
from training.journal import Event
from training.metric_names import Mode
from training.report.search.progress import fit_equal
from training.report.search.view import KEPT, Search, words_of
from training.report.shell import Figure, Part, chart_grid, chart_part, figure
from training.report.text import Cell, esc, score, setting, table
from training.run_record import number

MAX_POINTS = 1500
MAX_CHARTS = 6  # pairs of objectives
UNITS = {"latency_ms": "latency of one row, ms", "size_mb": "size, MB", "train_s": "training, s", "usd": "cost, USD"}


def pareto(search: Search) -> Part:
    """Empty where the search has one objective."""
    names = [name for name, _ in search.record.objectives]
    known = [t for t in search.trials if t["state"] == "complete" and _is_known(t, names)]
    if len(names) < 2 or not known:
        return Part()
    front = front_of(search, known)
    charts = chart_grid(
        _chart(search, known, front, pair, i)
        for i, pair in enumerate(list(combinations(range(len(names)), 2))[:MAX_CHARTS])
    )
    return Part(charts.html + _table(search, front), charts.figures)


def value_of(trial: Event, name: str) -> float:
    """An objective of a trial; NaN where it is not known."""
    values = trial.get("values") or {}
    return number(values.get(name, trial.get("score") if name == "score" else None))


def _is_known(trial: Event, names: Sequence[str]) -> bool:
    return all(math.isfinite(value_of(trial, name)) for name in names)


def title_of(search: Search, name: str) -> str:
    """An objective as an axis or a column is headed."""
    return search.metric if name == "score" else UNITS.get(name, name)


def objective_text(trial: Event, name: str) -> str:
    """An objective of a trial as it stands in a table."""
    value = value_of(trial, name)
    return score(value) if name == "score" else setting(value) if math.isfinite(value) else "–"


def front_of(search: Search, known: Sequence[Event]) -> list[Event]:
    """The trials on the front, the best score first: those that the search named, else as computed."""
    named = set(search.record.searched.get("front") or ())
    objectives = search.record.objectives
    front = [t for t in known if t["trial"] in named] if named else non_dominated(known, objectives)
    return sorted(front, key=lambda trial: value_of(trial, "score"), reverse=search.mode == "max")


def non_dominated(trials: Sequence[Event], objectives: Sequence[tuple[str, Mode]]) -> list[Event]:
    """Trials than which no other is as good in everything and better in something."""
    rows = [tuple(value_of(t, name) * (-1 if mode == "max" else 1) for name, mode in objectives) for t in trials]
    found: list[int] = []
    # By order of the first objective a trial can only be beaten by one that came before it.
    for index in sorted(range(len(rows)), key=lambda i: rows[i]):
        row = rows[index]
        if not any(rows[i] != row and all(a <= b for a, b in zip(rows[i], row, strict=True)) for i in found):
            found.append(index)
    return [trials[i] for i in found]


def _chart(search: Search, known: Sequence[Event], front: Sequence[Event], pair: tuple[int, int], index: int) -> Part:
    (across, _), (up, _) = (
        search.record.objectives[i] for i in reversed(pair)
    )  # the score, which comes first, goes up
    on_front = {trial["trial"] for trial in front}
    others = [trial for trial in known if trial["trial"] not in on_front]
    others = others[:: max(len(others) // MAX_POINTS, 1)]
    best = [trial for trial in known if trial["trial"] == search.best]
    by_across = sorted(front, key=lambda trial: value_of(trial, across))
    traces = [
        _dots(others, across, up, "other trials", {"color": "@faint", "size": 7}),
        _dots(by_across, across, up, "front", {"color": "@accent", "size": 9}),
        _dots(best, across, up, "best score", {"color": "@second", "size": 14, "symbol": "star"}),
    ]
    if len(search.record.objectives) == 2:
        traces[1] |= {"mode": "lines+markers", "line": {"color": "@accent", "width": 1.5, "shape": _step(search)}}
    drawn = figure([trace for trace in traces if trace["x"]], title_of(search, across), title_of(search, up))
    values = [value_of(trial, across) for trial in known]
    if min(values) > 0 and max(values) > 50 * min(values):
        drawn["layout"]["xaxis"]["type"] = "log"
    if up == "score":
        fit_equal(drawn, search, [value_of(trial, up) for trial in known])
    caption = f"{title_of(search, up)} against {title_of(search, across)}"
    return chart_part(f"pareto{index}", caption, drawn, wide=len(search.record.objectives) == 2)


def _step(search: Search) -> str:
    """Between two trials of the front nothing was found: the line goes there by the worse of the two."""
    across_mode = search.record.objectives[1][1]
    return "hv" if across_mode == "min" else "vh"


def _dots(trials: Sequence[Event], across: str, up: str, name: str, marker: Figure) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [value_of(trial, across) for trial in trials],
        "y": [value_of(trial, up) for trial in trials], "text": [words_of(trial) for trial in trials], "marker": marker,
        "hovertemplate": "%{x:.4~g}, %{y:.4~g}<br>%{text}<extra></extra>",
    }  # fmt: skip


def _table(search: Search, front: Sequence[Event]) -> str:
    names = [name for name, _ in search.record.objectives]
    rows: list[list[Cell]] = []
    for trial in front[:KEPT]:
        star = f"<b>{esc(trial['trial'])} ★</b>" if trial["trial"] == search.best else esc(trial["trial"])
        values = [(objective_text(trial, name), value_of(trial, name)) for name in names]
        settings = [esc(setting(trial["params"].get(key, "–"))) for key in search.keys]
        rows.append([(star, trial["trial"]), *values, *((text, text) for text in settings)])
    heads = ("trial", *(title_of(search, name) for name in names), *search.keys)
    more = f"<p class='muted'>the first {KEPT} of {len(front):,}</p>" if len(front) > KEPT else ""
    grid = table(heads, rows, sortable=True, classes=("", *["num"] * (len(heads) - 1)))
    return f"<h3>On the front: {counted(len(front), 'trial')}</h3>{more}{grid}"
