"""The chart of a run's compressed forms: what each takes against what it loses; see `shell.figure` for colours."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from training.report.point_labels import CHARACTER_PX, FONT_PX, LINE_PX, SCREEN_WIDTHS_PX, Axes, Box, Named, annotations
from training.report.shell import Figure, figure
from training.report.text import milliseconds, plotted, size
from training.run_record import RunRecord
from training.variants_view import WORDS, Form, SideBySide, Standing, price_text, side_by_side

HEIGHT_PX, INSIDE_PX = 430, 350  # of the chart, and of the area inside the axes
LARGEST_PX, SMALLEST_PX = 28, 12  # diameters of marks; their area goes with the bytes
WIDE = 4  # most over least, from which an axis is logarithmic
FAR_OUT = 2  # a refused form that loses so many times more than what matters would press all others onto a line
HOVER_COLUMNS = 60
LOOKS: dict[Standing, Figure] = {
    "refused": {"symbol": "circle-open", "color": "@muted", "line": {"width": 1.5, "color": "@muted"}},
    "kept": {"symbol": "diamond", "color": "@faint", "line": {"width": 0}},
    "front": {"symbol": "circle", "color": "@accent", "line": {"width": 0}},
    "chosen": {"symbol": "star", "color": "@second", "line": {"width": 0}},
}  # fmt: skip
FIRST: tuple[Standing, ...] = ("chosen", "front", "kept", "refused")  # to get a place for their names


@dataclass(frozen=True)
class _Point:
    form: Form
    x: float
    drop: float
    y: float  # the drop, or the upper edge where it lies above that
    diameter: float

    @property
    def is_cut(self) -> bool:
        return self.y < self.drop

    @property
    def interval(self) -> tuple[float | None, float | None]:
        return (None, None) if self.is_cut else (self.form.low, self.form.high)


def variants(record: RunRecord) -> Figure:
    """The objective against the loss of score, with what is allowed, and the line that no form is below."""
    seen = side_by_side(record)
    assert seen is not None, "only drawn where the section is"
    bottom, top = _view(seen)
    points = _points(seen, top)
    front = _front(points)
    traces = [_line(front)] + [_marks(seen, points, standing) for standing in reversed(FIRST)]
    drawn = figure(
        [trace for trace in traces if trace["x"]], _across(seen), f"{seen.lost} of {seen.judged_by}{_unit(seen)}"
    )
    layout, span = drawn["layout"], 0.08 * (top - bottom)
    layout["height"] = HEIGHT_PX
    layout["legend"] |= {"itemsizing": "constant"}
    layout["yaxis"] |= {"range": [bottom - 1.8 * span, top + span], "zeroline": True, "tickformat": _tick_format(seen)}
    layout["xaxis"] |= _axis([point.x for point in points])
    layout["shapes"], said = _allowed(seen)
    axes = Axes.of(drawn)
    lines = [axes.line(*ends) for ends in _drawn(points, front, seen)] + _words_place(seen, axes)
    layout["annotations"] = [*said, *annotations(axes, [_named(seen, point) for point in points], lines, INSIDE_PX)]
    return drawn


def _points(seen: SideBySide, top: float) -> list[_Point]:
    shown = sorted((f for f in seen.alike if f.standing in FIRST), key=lambda form: FIRST.index(form.standing))
    known = [(form, seen.objective.of(form), form.drop) for form in shown]
    most = max(form.variant.size_bytes for form in seen.forms)
    unit = 1e-6 if seen.objective.name == "size" else 1
    return [
        _Point(
            form, unit * x, drop, min(drop, top),
            max(SMALLEST_PX, LARGEST_PX * math.sqrt(form.variant.size_bytes / max(most, 1))),
        )
        for form, x, drop in known
        if x is not None and drop is not None
    ]  # fmt: skip


def _view(seen: SideBySide) -> tuple[float, float]:
    """The drops that the axis shows: all, but for refused forms that are far out."""
    known = [form for form in seen.alike if form.drop is not None]
    ends = [
        end for form in known if form.standing != "refused" for end in (form.low, form.drop, form.high)
        if end is not None
    ]  # fmt: skip
    inside = [0.0, seen.max_drop or 0.0, *ends]
    matters = max(abs(end) for end in inside)
    refused = [form for form in known if form.standing == "refused"]
    near = [form for form in refused if not matters or (form.drop or 0) <= FAR_OUT * matters]
    inside += [end for form in near for end in (form.low, form.drop, form.high) if end is not None]
    bottom, top = min(inside), max(inside)
    if len(near) < len(refused):
        top += 0.15 * (top - bottom)  # room for what lies above the edge
    return (bottom, top) if top > bottom else (bottom - 1e-3, top + 1e-3)


def _front(points: Sequence[_Point]) -> list[_Point]:
    """Those than which no other is better in both, the fastest first."""
    kept = sorted((point for point in points if point.form.standing != "refused"), key=lambda p: (p.x, p.drop))
    front: list[_Point] = []
    for point in kept:
        if not front or point.drop < front[-1].drop:
            front.append(point)
    return front


def _line(front: Sequence[_Point]) -> Figure:
    """Between two forms nothing was measured: the line goes there by the worse of the two."""
    return {
        "type": "scatter", "mode": "lines", "x": [point.x for point in front], "y": [point.y for point in front],
        "line": {"color": "@accent", "width": 1.5, "shape": "hv"}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _marks(seen: SideBySide, points: Sequence[_Point], standing: Standing) -> Figure:
    shown = sorted(
        (point for point in points if point.form.standing == standing),
        key=lambda point: point.is_cut,  # the legend shows what the first one looks like
    )
    look = LOOKS[standing]
    return {
        "type": "scatter", "mode": "markers", "name": WORDS[standing],
        "x": [point.x for point in shown], "y": [point.y for point in shown],
        "marker": look | {
            "size": [point.diameter for point in shown], "opacity": 1,
            "symbol": ["triangle-up-open" if point.is_cut else look["symbol"] for point in shown],
        },
        "error_y": _bars([(point.drop, *point.interval) for point in shown], look["color"]),
        "error_x": _bars([(point.x, *_range(seen, point)) for point in shown], look["color"]),
        "hovertext": [_hover(seen, point.form) for point in shown], "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip


def _bars(values: Iterable[tuple[float, float | None, float | None]], colour: str) -> Figure:
    """Error bars that may be longer on one side; none where an end is not known."""
    told = list(values)
    return {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 4, "color": colour,
        "array": [None if high is None else max(high - value, 0.0) for value, _, high in told],
        "arrayminus": [None if low is None else max(value - low, 0.0) for value, low, _ in told],
    }  # fmt: skip


def _range(seen: SideBySide, point: _Point) -> tuple[float, float] | tuple[None, None]:
    """Where the time that decides lies; unknown of what is not a time."""
    timed = seen.objective.latency(point.form) if seen.objective.is_latency else None
    return (timed[1] if timed else None) or (None, None)


def _hover(seen: SideBySide, form: Form) -> str:
    interval = f" ({seen.drop_text(form.low)} to {seen.drop_text(form.high)})" if form.low is not None else ""
    calls = [
        f"{rows} row{'' if rows == '1' else 's'}: p50 {milliseconds(told.p50_ms)}, p99 {milliseconds(told.p99_ms)}"
        for rows, told in form.latency.items()
    ]
    taken = [size(form.variant.size_bytes)]
    taken += [f"{form.memory_mb:.0f} MB of memory"] if form.memory_mb is not None else []
    taken += [f"{price_text(form.usd_per_million)} per million"] if form.usd_per_million is not None else []
    whose = f" of {form.judged_by}" if form.judged_by != seen.metric else ""
    lines = [
        f"{seen.metric} {seen.score_text(form)}, {seen.lost}{whose} {seen.drop_text(form.drop)}{interval}",
        *calls, ", ".join(taken), f"{WORDS[form.standing]}{': ' if form.note else ''}{form.note}",
    ]  # fmt: skip
    wrapped = [plotted(piece) for line in lines for piece in textwrap.wrap(line, HOVER_COLUMNS)]
    return "<br>".join([f"<b>{plotted(form.name)}</b>", *wrapped])


def _across(seen: SideBySide) -> str:
    unit = " predictions" if seen.objective.name == "cost" else ", MB" if seen.objective.name == "size" else ", ms"
    return f"{seen.objective.title}{unit}"


def _unit(seen: SideBySide) -> str:
    return f", share of {seen.baseline}'s" if seen.is_share() else ""


def _tick_format(seen: SideBySide) -> str:
    return ".2~%" if seen.is_share() else ".3~g"


def _axis(values: Sequence[float]) -> Figure:
    """Range and ticks: logarithmic, with ticks at 1, 2 and 5, where the values span much."""
    least, most = (min(values), max(values)) if values else (0.0, 1.0)
    if least <= 0 or most < WIDE * least:
        pad = 0.08 * (most - least) or 0.1 * abs(most) or 1.0
        return {"range": [least - pad, most + pad]}
    low, high = math.log10(least), math.log10(most)
    pad = 0.08 * (high - low)
    powers = range(math.floor(low - pad), math.ceil(high + pad) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {
        "type": "log", "range": [low - pad, high + pad], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]
    }  # fmt: skip


def _allowed(seen: SideBySide) -> tuple[list[Figure], list[Figure]]:
    """The line of the loss that is allowed, and what it says."""
    if seen.max_drop is None:
        return [], []
    line = {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": seen.max_drop, "y1": seen.max_drop,
        "line": {"color": "@bad", "dash": "dash", "width": 1.5}, "layer": "below",
    }  # fmt: skip
    words = {
        "xref": "paper", "x": 1, "xanchor": "right", "y": seen.max_drop, "yanchor": "bottom",
        "text": f"allowed: {seen.allowed}", "showarrow": False, "font": {"color": "@bad", "size": FONT_PX},
    }  # fmt: skip
    return [line], [words]


def _named(seen: SideBySide, point: _Point) -> Named:
    star = "★ " if point.form.standing == "chosen" else ""
    drop = f" ({seen.drop_text(point.drop)})" if point.is_cut else ""
    return Named(f"{star}{point.form.name}{drop}", point.x, point.y, point.diameter / 2)


Ends = tuple[tuple[float, float], tuple[float, float]]


def _drawn(points: Sequence[_Point], front: Sequence[_Point], seen: SideBySide) -> Iterator[Ends]:
    """Lines that no name may lie on: error bars and the front."""
    for point in points:
        low, high = point.interval
        if low is not None and high is not None:
            yield (point.x, low), (point.x, high)
        left, right = _range(seen, point)
        if left is not None and right is not None:
            yield (left, point.y), (right, point.y)
    for one, other in pairwise(front):
        yield (one.x, one.y), (other.x, one.y)
        yield (other.x, one.y), (other.x, other.y)


def _words_place(seen: SideBySide, axes: Axes) -> list[Box]:
    """The line of what is allowed, and its words on a phone, where they take most."""
    if seen.max_drop is None:
        return []
    _, down = axes.place(1.0, seen.max_drop)
    words_long, words_high = CHARACTER_PX * len(f"allowed: {seen.allowed}"), 1.2 * LINE_PX
    return [(0.0, down, 1.0, down), (1 - words_long / min(SCREEN_WIDTHS_PX), down - words_high / INSIDE_PX, 1.0, down)]
