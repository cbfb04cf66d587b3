"""Charts as plotly figures: plain dicts. A colour such as "@accent" is looked up in the page's style when drawn."""

import math
from collections.abc import Sequence
from typing import Any

from training.journal import Event
from training.metric_names import is_better
from training.report.shell import Figure
from training.report.shell import figure as _figure
from training.report.text import plotted, score, setting
from training.run_record import RunRecord, number

MAX_CURVES = 200  # more lines than this are a smear; the pruned ones go first


def objective(record: RunRecord) -> Figure:
    """Score of each trial in the order in which they ended, and the best so far."""
    scored = [(i, trial) for i, trial in enumerate(record.trials, 1) if math.isfinite(number(trial["score"]))]
    traces = []
    for state, colour, symbol in (("pruned", "@faint", "circle-open"), ("complete", "@accent", "circle")):
        points = [(i, trial) for i, trial in scored if trial["state"] == state]
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": state,
                "x": [i for i, _ in points], "y": [trial["score"] for _, trial in points],
                "text": [_trial_text(trial) for _, trial in points],
                "marker": {"color": colour, "symbol": symbol, "size": 8},
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    best_x, best_y = _best_so_far(record, scored)
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": "best so far", "x": best_x, "y": best_y,
            "line": {"color": "@second", "shape": "hv", "width": 2}, "hoverinfo": "skip",
        }
    )  # fmt: skip
    return _figure(traces, "trial", record.metric)


def _best_so_far(record: RunRecord, scored: Sequence[tuple[int, Event]]) -> tuple[list[int], list[float]]:
    xs: list[int] = []
    ys: list[float] = []
    for i, trial in scored:
        if trial["state"] == "complete" and is_better(trial["score"], ys[-1] if ys else None, record.mode):
            xs.append(i)
            ys.append(trial["score"])
    if xs:
        xs.append(len(record.trials))
        ys.append(ys[-1])
    return xs, ys


def learning_curves(record: RunRecord) -> Figure:
    """Score by epoch of each trial: pruned ones faint, the best in front."""
    best = record.best_trial.get("trial")
    drawn = [trial for trial in record.trials if trial.get("curve")]
    drawn.sort(key=lambda trial: (trial["trial"] == best, trial["state"] == "complete"))
    traces = []
    for trial in drawn[-MAX_CURVES:]:
        is_best = trial["trial"] == best
        colour, width = (
            ("@second", 2.5) if is_best else ("@accent", 1.2) if trial["state"] == "complete" else ("@faint", 1)
        )
        curve = trial["curve"]
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers" if len(curve) == 1 else "lines",
                "name": plotted(trial["trial"]), "x": list(range(1, len(curve) + 1)), "y": curve,
                "line": {"color": colour, "width": width}, "marker": {"size": 4},
                "opacity": 1 if is_best else 0.6, "showlegend": False,
                "hovertemplate": f"{_trial_text(trial)}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            }
        )  # fmt: skip
    return _figure(traces, "epoch", record.metric)


def parallel_coordinates(record: RunRecord) -> Figure:
    """Each trial as a line through its settings to its score."""
    trials = [trial for trial in record.trials if math.isfinite(number(trial["score"]))]
    keys = list(dict.fromkeys(key for trial in trials for key in trial["params"]))
    dimensions = [
        _dimension(key, [trial["params"].get(key) for trial in trials], record.kind_of_setting(key)) for key in keys
    ]
    scores = [trial["score"] for trial in trials]
    dimensions.append({"label": plotted(record.metric.removeprefix("validation/")), "values": scores})
    line = {
        "color": scores, "colorscale": [[0, "@scale0"], [0.5, "@scale1"], [1, "@scale2"]],
        "reversescale": record.mode == "min", "cmin": _low(scores), "cmax": max(scores, default=1.0),
    }  # fmt: skip
    figure = _figure([{"type": "parcoords", "dimensions": dimensions, "line": line, "labelangle": 0}], "", "")
    figure["layout"]["margin"] = {"l": 70, "r": 50, "t": 50, "b": 20}
    figure["min_width"] = 130 * len(dimensions)
    return figure


def _low(scores: Sequence[float]) -> float:
    """Where the colours begin: the worst quarter shares one, else a diverged trial leaves one colour to the rest."""
    ordered = sorted(scores)
    return ordered[len(ordered) // 4] if len(ordered) > 4 else min(ordered, default=0.0)


def _dimension(key: str, values: Sequence[Any], kind: str) -> Figure:
    """One axis. A choice has a tick for each value; a setting drawn on a logarithmic scale is shown on one."""
    label = plotted(key.split(".", 1)[-1])
    is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if kind == "choice" or not is_number:
        known = sorted({setting(value): value for value in values}.items(), key=_by_value if is_number else _by_text)
        texts = [text for text, _ in known]
        ticks = {"tickvals": list(range(len(texts))), "ticktext": texts}
        positions = [texts.index(setting(value)) for value in values]
        return {"label": label, "values": positions, "range": [-0.1, len(texts) - 0.9], **ticks}
    if kind == "log" and min(values) > 0:
        logs = [math.log10(value) for value in values]
        low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
        powers = list(range(low, high + 1))
        ticks = {"tickvals": powers, "ticktext": [f"1e{power}" for power in powers]}
        return {"label": label, "values": logs, "range": [low, high], **ticks}
    return {"label": label, "values": list(values)}


def _by_value(item: tuple[str, Any]) -> float:
    return float(item[1])


def _by_text(item: tuple[str, Any]) -> tuple[int, str]:
    return len(item[0]), item[0]


def variants(record: RunRecord) -> Figure:
    """Median latency of each variant at one row and at 32."""
    names = [variant.name for variant in record.variants]
    traces = [
        {
            "type": "bar", "name": "1 row" if batch_size == "1" else f"{batch_size} rows", "orientation": "h",
            "y": names, "x": [variant.latency[batch_size].p50_ms for variant in record.variants],
            "text": [f"{variant.latency[batch_size].p50_ms:.3g}" for variant in record.variants],
            "textposition": "auto", "marker": {"color": colour}, "hovertemplate": "%{y}, %{x:.4f} ms<extra></extra>",
        }
        for batch_size, colour in (("1", "@accent"), ("32", "@second"))
        if all(batch_size in variant.latency for variant in record.variants)
    ]  # fmt: skip
    figure = _figure(traces, "median latency, ms", "")
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    figure["layout"]["height"] = 130 + 60 * len(names)
    return figure


def _trial_text(trial: Event) -> str:
    settings = "<br>".join(f"{plotted(key)} {plotted(setting(value))}" for key, value in trial["params"].items())
    return f"{plotted(trial['trial'])}, {trial['state']}: {score(trial['score'])}<br>{settings}".replace("%{", "% {")
