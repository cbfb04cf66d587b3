"""Slices: the score of each trial against one setting, one chart a setting."""

import math
from collections.abc import Sequence
from typing import Any

from training.report.search.progress import within_view
from training.report.search.view import Numbered, Search, short_words_of
from training.report.shell import Figure, Part, chart_grid, chart_part, figure
from training.report.text import esc, plotted, setting

MAX_POINTS = 800  # of one chart
MAX_SLICES = 18
MAX_STRIPS = 30  # values of a choice


def slices(search: Search, first: Sequence[str] = ()) -> Part:
    """A chart a setting, in a grid. Args: first: settings by importance; the others follow in the file's order."""
    if len(search.scored) < 2:
        return Part()
    ordered = [*(key for key in first if key in search.keys), *(key for key in search.keys if key not in first)]
    grid = chart_grid((_slice(search, key, i) for i, key in enumerate(ordered[:MAX_SLICES])), "charts small")
    left_out = ordered[MAX_SLICES:]
    more = f"<p class='muted'>not drawn: {esc(', '.join(left_out))}</p>" if left_out else ""
    return Part(grid.html + more, grid.figures)


def _slice(search: Search, key: str, index: int) -> Part:
    having = [each for each in search.drawn(MAX_POINTS) if each[1]["params"].get(key) is not None]
    num_without = sum(key not in trial["params"] for _, trial in search.scored)
    note = f"; {num_without:,} trials do not have it" if num_without else ""
    drawn_as_strip = is_strip(search.record.kind_of_setting(key), [trial["params"][key] for _, trial in having])
    drawn = _strips(search, key, having) if drawn_as_strip else _plain(search, key, having)
    drawn["layout"]["height"] = 240
    drawn["layout"]["margin"] |= {"t": 10, "b": 30}
    drawn["layout"]["showlegend"] = False
    return chart_part(f"slice{index}", f"{key}{note}", within_view(drawn, search))


def is_strip(kind: str, values: Sequence[Any]) -> bool:
    """Whether a setting has a tick for each of its values, and no scale."""
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return kind in ("choice", "ordered") or not is_number


def _plain(search: Search, key: str, having: Numbered) -> Figure:
    traces = _traces(search, having, lambda trial: float(trial["params"][key]))
    drawn = figure(traces, "", "")
    if search.record.kind_of_setting(key) == "log":
        ticks = log_ticks([float(trial["params"][key]) for _, trial in having])
        drawn["layout"]["xaxis"] |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return drawn


def log_ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten; over a short stretch also twice and five times those."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    factors = (1, 2, 5) if max(values) < 50 * min(values) else (1,)
    return [factor * 10.0**power for power in range(low, high + 1) for factor in factors]


def _strips(search: Search, key: str, having: Numbered) -> Figure:
    """A strip a value; dots beside each other, for many trials may have the same score."""
    texts = ordered_texts([trial["params"][key] for _, trial in having])[:MAX_STRIPS]
    places = {text: i for i, text in enumerate(texts)}
    kept = [each for each in having if setting(each[1]["params"][key]) in places]
    shifts = {trial["trial"]: 0.12 * (i % 5 - 2) for i, trial in kept}
    traces = _traces(search, kept, lambda trial: places[setting(trial["params"][key])] + shifts[trial["trial"]])
    drawn = figure(traces, "", "")
    ticks = {"tickvals": list(range(len(texts))), "ticktext": [plotted(clipped(text)) for text in texts]}
    drawn["layout"]["xaxis"] |= ticks | {"range": [-0.6, len(texts) - 0.4]}
    return drawn


def _traces(search: Search, having: Numbered, place: Any) -> list[Figure]:
    """The stopped ones behind, the best in front."""
    groups = {
        "stopped": [t for _, t in having if t["state"] == "pruned"],
        "complete": [t for _, t in having if t["state"] == "complete" and t["trial"] != search.best],
        "best": [t for _, t in having if t["trial"] == search.best],
    }
    styles = {
        "stopped": ("@faint", "circle-open", 6),
        "complete": ("@accent", "circle", 7),
        "best": ("@second", "star", 13),
    }
    return [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": [place(trial) for trial in trials],
            "y": [trial["score"] for trial in trials],
            "text": [f"{short_words_of(trial)}" for trial in trials],
            "marker": dict(zip(("color", "symbol", "size"), styles[name], strict=True)) | {"opacity": 0.8},
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name, trials in groups.items()
        if trials
    ]  # fmt: skip


def clipped(text: str) -> str:
    """A text short enough for a tick."""
    return text if len(text) <= 24 else f"{text[:23]}…"


def ordered_texts(values: Sequence[Any]) -> list[str]:
    """Distinct values as text, numbers by size and other things by length, then alphabet."""
    found = {setting(value): value for value in values}
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(found, key=(lambda text: float(found[text])) if is_number else (lambda text: (len(text), text)))
