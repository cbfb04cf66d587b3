"""Parallel coordinates: each trial as a line through its settings to its score."""

import math
from collections.abc import Sequence
from typing import Any

from training.report.search.slices import clipped, is_strip, ordered_texts
from training.report.search.view import Search
from training.report.shell import Figure, Part, chart_part, figure
from training.report.text import plotted, setting

MAX_LINES = 600


def parallel(search: Search) -> Part:
    """Each trial as a line through its settings to its score; empty where two lines cannot be compared."""
    if len(search.scored) < 2:
        return Part()
    trials = [trial for _, trial in search.drawn(MAX_LINES)]
    dimensions = [
        _dimension(key, [t["params"].get(key) for t in trials], search.record.kind_of_setting(key))
        for key in search.keys
    ]
    scores = [trial["score"] for trial in trials]
    label = plotted(search.metric.removeprefix("validation/"))
    dimensions.append({"label": label, "values": scores, "tickformat": ".4~g"})
    line = {
        "color": scores, "colorscale": [[0, "@scale0"], [0.5, "@scale1"], [1, "@scale2"]],
        "reversescale": search.mode == "min", **_colour_range(scores, search.mode),
    }  # fmt: skip
    drawn = figure([{"type": "parcoords", "dimensions": dimensions, "line": line, "labelangle": 0}], "", "")
    drawn["layout"]["margin"] = {"l": 70, "r": 50, "t": 50, "b": 20}
    drawn["min_width"] = 130 * len(dimensions)
    note = search.drawn_note(MAX_LINES)
    return chart_part("parallel", f"Settings and score; drag along an axis to filter{note}", drawn, wide=True)


def _colour_range(scores: Sequence[float], mode: str) -> dict[str, float]:
    """The worst quarter shares one colour, else a diverged trial leaves one colour to all others."""
    ordered = sorted(scores)
    quarter = len(ordered) // 4
    return {"cmin": ordered[quarter], "cmax": ordered[-1]} if mode == "max" else {
        "cmin": ordered[0], "cmax": ordered[-1 - quarter]
    }  # fmt: skip


def _dimension(key: str, values: Sequence[Any], kind: str) -> Figure:
    """One axis. A choice has a tick for each value; a setting drawn on a logarithmic scale is shown on one."""
    label = plotted(key.split(".", 1)[-1])
    known = [value for value in values if value is not None]
    if is_strip(kind, known) or len(known) < len(values):
        texts = ordered_texts(known) if is_strip(kind, known) else []
        return _dimension_of_texts(label, texts, values) if texts else _dimension_with_gaps(label, kind, values)
    if kind == "log" and min(values) > 0:
        return {"label": label, **_log_ticks([math.log10(value) for value in values])}
    return {"label": label, "values": list(values), "tickformat": ".3~g"}


def _dimension_of_texts(label: str, texts: list[str], values: Sequence[Any]) -> Figure:
    shown = texts if all(value is not None for value in values) else [*texts, "–"]
    places = {text: i for i, text in enumerate(shown)}
    positions = [places["–" if value is None else setting(value)] for value in values]
    return {
        "label": label, "values": positions, "range": [-0.1, len(shown) - 0.9],
        "tickvals": list(range(len(shown))), "ticktext": [plotted(clipped(text)) for text in shown],
    }  # fmt: skip


def _dimension_with_gaps(label: str, kind: str, values: Sequence[Any]) -> Figure:
    """Numbers that some trials do not have: those pass below the axis's lowest tick."""
    is_log = kind == "log"
    known = [math.log10(value) if is_log else float(value) for value in values if value is not None]
    low, high = min(known), max(known)
    below = low - 0.15 * ((high - low) or 1.0)
    inner = [low + (high - low) * i / 4 for i in range(5)]
    texts = [setting(10**place if is_log else place) for place in inner]
    positions = iter(known)
    return {
        "label": label, "values": [below if value is None else next(positions) for value in values],
        "range": [below, high], "tickvals": [below, *inner], "ticktext": ["–", *texts],
    }  # fmt: skip


def _log_ticks(logs: Sequence[float]) -> Figure:
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    powers = list(range(low, high + 1))
    return {"values": list(logs), "range": [low, high], "tickvals": powers,
            "ticktext": [f"1e{power}" for power in powers]}  # fmt: skip
