"""Learning curves of the trials; of trials that are judged by several trainings, the score of each fold or seed."""

from training.journal import Event
from training.report.search.progress import within_view
from training.report.search.view import Search, units_of, words_of
from training.report.shell import Figure, Part, chart_part, figure
from training.report.text import plotted

MAX_CURVES = 150  # more lines than this are a smear; the stopped ones go first


def curves(search: Search) -> Part:
    """The chart; empty where no trial has anything to draw."""
    if search.level != "epochs" and any(units_of(trial) for trial in search.trials):
        return _by_unit(search)
    lines = {trial["trial"]: list(enumerate(trial["curve"], 1)) for trial in search.trials if trial.get("curve")}
    return _part(search, lines, "Learning curves; the best trial in front, stopped ones faint", "epoch")


def _by_unit(search: Search) -> Part:
    lines = {trial["trial"]: list(units_of(trial).items()) for trial in search.trials if units_of(trial)}
    caption = f"Score by {search.part}; where all lines dip, that {search.part} is hard"
    part = _part(search, lines, caption, search.part)
    for drawn in part.figures.values():
        drawn["layout"]["xaxis"]["dtick"] = 1
    return part


def _part(search: Search, lines: dict[str, list[tuple[int, float]]], caption: str, unit: str) -> Part:
    if not lines:
        return Part()
    drawn = [trial for trial in search.trials if trial["trial"] in lines]
    if len(drawn) > MAX_CURVES:
        kept = {trial["trial"] for trial in [t for t in search.ranked if t["trial"] in lines][:MAX_CURVES]}
        caption += f"; the best {len(kept)} of {len(drawn):,} drawn"
        drawn = [trial for trial in drawn if trial["trial"] in kept]
    drawn.sort(key=lambda trial: (trial["trial"] == search.best, trial["state"] == "complete"))
    traces = [_line(search, trial, lines[trial["trial"]], unit) for trial in drawn]
    seen = [value for trial in drawn for _, value in lines[trial["trial"]]]
    return chart_part("curves", caption, within_view(figure(traces, unit, search.metric), search, seen), wide=True)


def _line(search: Search, trial: Event, points: list[tuple[int, float]], unit: str) -> Figure:
    is_best = trial["trial"] == search.best
    colour, width = ("@accent", 1.2) if trial["state"] == "complete" else ("@faint", 1)
    return {
        "type": "scatter", "mode": "lines+markers" if unit != "epoch" or len(points) == 1 else "lines",
        "name": plotted(trial["trial"]), "x": [x for x, _ in points], "y": [y for _, y in points],
        "line": {"color": "@second", "width": 2.5} if is_best else {"color": colour, "width": width},
        "marker": {"size": 4}, "opacity": 1 if is_best else 0.6, "showlegend": False,
        "hovertemplate": f"{words_of(trial)}<br>{unit} %{{x}}: %{{y:.4f}}<extra></extra>",
    }  # fmt: skip
