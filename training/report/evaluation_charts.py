"""Charts of an evaluation as plotly figures; see `shell.figure` for colours."""

from collections.abc import Sequence

from training.evaluation import words
from training.evaluation.calibration import Calibration, Residuals
from training.evaluation.evaluate import Evaluation
from training.package.drift import MUCH, SOME, Shift
from training.report.shell import Figure, figure
from training.report.text import plotted

MAX_BARS = 15
COLOURS = {"worse": "@bad", "better": "@good"}
ROW_HEIGHT = 26


def reliability(judged: Calibration) -> Figure:
    """What came over what was said, with the diagonal that right probabilities lie on."""
    bins = judged.bins
    points = {
        "type": "scatter", "mode": "lines+markers", "name": "observed",
        "x": [each.said for each in bins], "y": [each.came for each in bins],
        "error_y": {
            "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": "@accent",
            "array": [each.high - each.came for each in bins], "arrayminus": [each.came - each.low for each in bins],
        },
        "line": {"color": "@accent", "width": 1.5}, "marker": {"color": "@accent", "size": 7},
        "text": [f"{each.num_rows:,} rows" for each in bins],
        "hovertemplate": "said %{x:.4f}, came %{y:.4f}<br>%{text}<extra></extra>",
    }  # fmt: skip
    diagonal = {
        "type": "scatter", "mode": "lines", "name": "right probabilities", "x": [0, 1], "y": [0, 1],
        "line": {"color": "@faint", "dash": "dot", "width": 1.5}, "hoverinfo": "skip",
    }  # fmt: skip
    drawn = figure([diagonal, points], judged.about, "share that came")
    drawn["layout"]["xaxis"]["range"] = drawn["layout"]["yaxis"]["range"] = [-0.02, 1.02]
    drawn["layout"]["height"] = 400
    return drawn


def deciles(missed: Residuals) -> Figure:
    """Mean truth over mean prediction."""
    predicted = [tenth.predicted for tenth in missed.deciles]
    ends = [min(predicted), max(predicted)]
    points = {
        "type": "scatter", "mode": "lines+markers", "name": "mean of the truth", "x": predicted,
        "y": [tenth.came for tenth in missed.deciles], "line": {"color": "@accent", "width": 1.5},
        "marker": {"color": "@accent", "size": 7},
    }  # fmt: skip
    diagonal = {
        "type": "scatter", "mode": "lines", "name": "right predictions", "x": ends, "y": ends,
        "line": {"color": "@faint", "dash": "dot", "width": 1.5}, "hoverinfo": "skip",
    }  # fmt: skip
    return figure([diagonal, points], "mean prediction", "mean of the truth")


def coverage(missed: Residuals) -> Figure:
    """Share of rows within the band, by tenths."""
    bars = {
        "type": "bar", "x": [f"{i}" for i in range(1, len(missed.deciles) + 1)],
        "y": [tenth.covered for tenth in missed.deciles], "marker": {"color": "@accent"},
        "text": [f"{tenth.covered:.0%}" for tenth in missed.deciles], "textposition": "auto",
        "hovertemplate": "%{y:.1%}<extra></extra>",
    }  # fmt: skip
    drawn = figure([bars], "tenth of the prediction, lowest first", "rows within the band")
    drawn["layout"]["yaxis"] |= {"range": [0, 1.05], "tickformat": ".0%"}
    drawn["layout"]["shapes"] = [_line(y=0.9)]
    return drawn


def slices(found: Evaluation, column: str) -> Figure:
    """The deciding score of each slice with its interval; the line is the score of all rows."""
    parts = [part for part in found.slices if part.column == column and part.scores[found.metric].value is not None]
    estimates = [part.scores[found.metric] for part in parts]
    values = [estimate.value or 0.0 for estimate in estimates]
    marks = [words.slice_mark(part, found.metric) for part in parts]
    colours = [COLOURS.get(mark, "@accent") for mark in marks]
    points = {
        "type": "scatter", "mode": "markers", "x": values, "y": list(range(len(parts))),
        "error_x": {
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 4, "color": "@muted",
            "array": [(each.high or value) - value for each, value in zip(estimates, values, strict=True)],
            "arrayminus": [value - (each.low or value) for each, value in zip(estimates, values, strict=True)],
        },
        "marker": {"color": colours, "size": 10}, "showlegend": False,
        "text": [f"{part.num_rows:,} rows {mark}" for part, mark in zip(parts, marks, strict=True)],
        "hovertemplate": "%{x:.4f}<br>%{text}<extra></extra>",
    }  # fmt: skip
    drawn = figure([points], found.metric, "")
    names = [plotted(words.plain(part.value)) for part in parts]
    drawn["layout"]["yaxis"] |= {
        "tickvals": list(range(len(parts))), "ticktext": names, "autorange": False, "range": [len(parts) - 0.5, -0.5],
    }  # fmt: skip
    drawn["layout"]["height"] = 110 + ROW_HEIGHT * max(len(parts), 2)
    if (whole := found.scores[found.metric].value) is not None:
        drawn["layout"]["shapes"] = [_line(x=whole)]
        drawn["layout"]["annotations"] = [
            {"x": whole, "yref": "paper", "y": 1, "text": f"all rows: {words.number(whole)}", "showarrow": False,
             "yanchor": "bottom", "font": {"color": "@muted", "size": 11}},
        ]  # fmt: skip
    return drawn


def shifts(moved: Sequence[Shift]) -> Figure:
    """The index of the inputs that moved most, and what chance explains of it."""
    shown = list(moved[:MAX_BARS])
    names = [plotted(words.plain(words.shift_name(each))) for each in shown]
    colours = [{"much": "@bad", "some": "@second"}.get(each.verdict, "@accent") for each in shown]
    places = list(range(len(shown)))
    bars = {
        "type": "bar", "orientation": "h", "y": places, "x": [each.index for each in shown],
        "marker": {"color": colours}, "name": "index", "showlegend": False,
        "text": [f"{each.index:.3f}" for each in shown], "textposition": "outside", "cliponaxis": False,
        "hovertemplate": "%{x:.4f}<extra></extra>",
    }  # fmt: skip
    chance = {
        "type": "scatter", "mode": "markers", "y": places, "x": [each.chance for each in shown], "name": "chance",
        "marker": {"color": "@ink", "size": 6, "symbol": "circle"}, "showlegend": False,
        "hovertemplate": "chance: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    drawn = figure([bars, chance], "population stability index", "")
    drawn["layout"]["yaxis"] |= {
        "tickvals": places, "ticktext": names, "autorange": False, "range": [len(shown) - 0.5, -0.5],
    }  # fmt: skip
    drawn["layout"]["height"] = 110 + ROW_HEIGHT * len(shown)
    drawn["layout"]["shapes"] = [_line(x=SOME), _line(x=MUCH)]
    return drawn


def _line(x: float | None = None, y: float | None = None) -> Figure:
    """A dotted line across the chart."""
    place = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"} if y is None else {
        "y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper",
    }  # fmt: skip
    return {"type": "line", "line": {"color": "@muted", "dash": "dot", "width": 1}, **place}
