"""The chart of a learning curve as a plotly figure; see `shell.figure` for colours."""

import math
from collections.abc import Sequence

from training.curve_record import CurveRecord
from training.evaluation.curve import Point, Spread
from training.evaluation.power_law import PowerLaw, as_error
from training.report.shell import Figure, figure

BANDS = {"training": ("@accent", "train"), "validation": ("@second", "validation")}


def curve_chart(record: CurveRecord, points: Sequence[Point], metric: str, law: PowerLaw | None) -> Figure:
    """Training and validation over rows on a logarithmic axis: means, intervals, single trainings, and the law."""
    traces: list[Figure] = [] if law is None else _law(record, law)
    for name, (colour, part) in BANDS.items():
        spreads = [point.train if part == "train" else point.validation for point in points]
        sizes = [point.num_rows for point in points]
        dots = [
            (each.num_rows, scores[metric])
            for each in record.measured
            if metric in (scores := each.train if part == "train" else each.validation)
        ]
        traces += [_band(sizes, spreads, colour), _dots(dots, colour), _mean(name, sizes, spreads, colour)]
    drawn = figure(traces, "training rows", metric)
    drawn["layout"]["xaxis"] |= {"type": "log", **_ticks([point.num_rows for point in points], law)}
    drawn["layout"]["height"] = 420 if law is not None else 320
    return drawn


def _band(sizes: Sequence[int], spreads: Sequence[Spread], colour: str) -> Figure:
    known = [(size, each.low, each.high) for size, each in zip(sizes, spreads, strict=True) if each.low is not None]
    return {
        "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": colour, "opacity": 0.18,
        "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        "x": [size for size, _, _ in known] + [size for size, _, _ in reversed(known)],
        "y": [low for _, low, _ in known] + [high for _, _, high in reversed(known)],
    }  # fmt: skip


def _dots(dots: Sequence[tuple[int, float]], colour: str) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "x": [size for size, _ in dots], "y": [value for _, value in dots],
        "marker": {"color": colour, "size": 4, "opacity": 0.6}, "showlegend": False, "hoverinfo": "skip",
    }  # fmt: skip


def _mean(name: str, sizes: Sequence[int], spreads: Sequence[Spread], colour: str) -> Figure:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "x": list(sizes), "y": [each.mean for each in spreads],
        "line": {"color": colour, "width": 2}, "marker": {"color": colour, "size": 8},
        "hovertemplate": "%{x:,} rows: %{y:.4f}<extra>" + name + "</extra>",
    }  # fmt: skip


def _law(record: CurveRecord, law: PowerLaw) -> list[Figure]:
    """The fitted law up to the largest size, and beyond it, with what it may be there."""
    scores = [as_error(error, record.mode) for error in law.errors]
    ahead = [i for i, size in enumerate(law.sizes) if size >= law.largest]
    sizes = [law.sizes[i] for i in ahead]
    bounds = [[as_error(bound[i], record.mode) for i in ahead] for bound in (law.errors_low, law.errors_high)]
    return [
        {
            "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": "@faint", "opacity": 0.25,
            "line": {"width": 0}, "hoverinfo": "skip", "name": "twice the rows, 95 %",
            "x": [*sizes, *reversed(sizes)], "y": [*bounds[0], *reversed(bounds[1])],
        },
        {
            "type": "scatter", "mode": "lines", "name": "power law", "x": list(law.sizes), "y": scores,
            "line": {"color": "@muted", "dash": "dot", "width": 1.5},
            "hovertemplate": "%{x:,} rows: %{y:.4f}<extra>power law</extra>",
        },
    ]  # fmt: skip


def _ticks(sizes: Sequence[int], law: PowerLaw | None) -> Figure:
    """A tick for each size, and for twice the largest where the law says something of it."""
    shown = [*sizes, *([2 * sizes[-1]] if law is not None and sizes else [])]
    ends = {"range": [math.log10(shown[0]) - 0.05, math.log10(shown[-1]) + 0.05]} if shown else {}
    return {"tickvals": shown, "ticktext": [f"{size:,}" for size in shown], **ends}
