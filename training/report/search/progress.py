"""How the search went: the score of each trial by number and by the clock, coloured by how far it came."""

import math
from collections.abc import Sequence

from training.journal import Event
from training.report.search.view import Numbered, Search, words_of
from training.report.shell import Figure, Part, chart_part, figure
from training.report.text import plotted
from training.run_record import number

CLOCKS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))  # from, divisor, its name
SYMBOLS = ("circle-open", "diamond-open", "square-open", "triangle-up-open")  # and colours --rung0 to --rung3
NUM_COLOURS = len(SYMBOLS)
FAR_OUT = 4.0  # times as far below the worst quarter as that is below the best: left outside of the axis
MIN_VALUES = 8


def progress(search: Search) -> tuple[Part, Part]:
    """The chart by number of trials, and the one by the clock."""
    ended, again = search.clock
    longest = max(ended.values(), default=0.0)
    _, divisor, clock = next(each for each in CLOCKS if longest >= each[0])
    note = search.drawn_note()
    if search.level != "epochs":
        note += f"; of stopped ones the mean of fewer {search.unit}s"
    by_number = chart_part("objective", f"Score of each trial, in the order in which they ended{note}",
                           _chart(search, list(range(1, len(search.trials) + 1)), "trial", []))  # fmt: skip
    by_clock = chart_part(
        "clock", "The same by the clock; pauses between executions are left out",
        _chart(search, [ended.get(trial["trial"], 0.0) / divisor for trial in search.trials],
               f"{clock} since the search began", [time / divisor for time in again]),
    )  # fmt: skip
    return by_number, by_clock


def _chart(search: Search, places: Sequence[float], axis: str, again: Sequence[float]) -> Figure:
    """Args: places: where each trial stands on the axis."""
    traces = [
        _dots(name, colour, symbol, [(places[i - 1], trial) for i, trial in found])
        for name, colour, symbol, found in _groups(search)
    ]
    others = [_best_so_far(search, places), *_begun_again(again), *_failed(search, places)]
    drawn = figure([*traces, *others], axis, search.metric)
    drawn["layout"]["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    drawn["layout"]["xaxis"]["rangemode"] = "tozero"
    return within_view(drawn, search)


def _groups(search: Search) -> list[tuple[str, str, str, Numbered]]:
    """Name, colour, symbol and trials: those stopped at each rung, the earliest first, then the finished ones."""
    stopped = [each for each in search.drawn() if each[1]["state"] == "pruned"]
    levels = sorted({level_of(trial) for _, trial in stopped})
    shared = levels[NUM_COLOURS - 1 :] if len(levels) > NUM_COLOURS else []
    groups: list[tuple[str, str, str, Numbered]] = []
    for index, level in enumerate(levels[: NUM_COLOURS - 1] if shared else levels):
        found = [each for each in stopped if level_of(each[1]) == level]
        units = f"{search.unit}{'' if level == 1 else 's'}"
        groups.append((f"stopped after {level} {units}", f"@rung{index}", SYMBOLS[index], found))
    if shared:
        found = [each for each in stopped if level_of(each[1]) >= shared[0]]
        groups.append((f"stopped later, to {shared[-1]}", f"@rung{NUM_COLOURS - 1}", SYMBOLS[-1], found))
    finished = [each for each in search.drawn() if each[1]["state"] == "complete"]
    return [*groups, ("complete", "@accent", "circle", finished)]


def level_of(trial: Event) -> int:
    """How far a trial came: the last rung at which it was judged, or its epochs where it was at none."""
    if rungs := trial.get("rungs"):
        return int(max(level for level, _ in rungs))
    return len(trial.get("replicates") or ()) or int(trial.get("epochs") or 0)


def _dots(name: str, colour: str, symbol: str, points: Sequence[tuple[float, Event]]) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name,
        "x": [x for x, _ in points], "y": [trial["score"] for _, trial in points],
        "text": [words_of(trial) for _, trial in points],
        "marker": {"color": colour, "symbol": symbol, "size": 8}, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _best_so_far(search: Search, places: Sequence[float]) -> Figure:
    xs = [places[i - 1] for i in search.leaders]
    ys = [search.trials[i - 1]["score"] for i in search.leaders]
    if xs:
        xs.append(max(places))
        ys.append(ys[-1])
    return {
        "type": "scatter", "mode": "lines", "name": "best so far", "x": xs, "y": ys,
        "line": {"color": "@second", "shape": "hv", "width": 2}, "hoverinfo": "skip",
    }  # fmt: skip


def _begun_again(times: Sequence[float]) -> list[Figure]:
    """Upright lines, named in the legend: a label beside each would lie over the points."""
    if not times:
        return []
    return [
        {
            "type": "scatter", "mode": "lines", "name": "begun again", "yaxis": "y2",
            "x": [x for time in times for x in (time, time, None)], "y": [0, 1, None] * len(times),
            "line": {"color": "@muted", "width": 1, "dash": "dash"}, "hoverinfo": "skip",
        }
    ]  # fmt: skip


def _failed(search: Search, places: Sequence[float]) -> list[Figure]:
    """Crosses along the lower edge: they have a time and no score."""
    found = [(place, trial) for place, trial in zip(places, search.trials, strict=True) if trial["state"] == "failed"]
    found = found[:: max(len(found) // 300, 1)]
    if not found:
        return []
    return [
        {
            "type": "scatter", "mode": "markers", "name": "failed", "x": [place for place, _ in found],
            "y": [0.02] * len(found), "yaxis": "y2", "text": [plotted(trial["trial"]) for _, trial in found],
            "marker": {"color": "@bad", "symbol": "x", "size": 7}, "hovertemplate": "%{text}: failed<extra></extra>",
        }
    ]  # fmt: skip


def fit_equal(drawn: Figure, search: Search, values: Sequence[float], axis: str = "yaxis") -> bool:
    """Set the axis of scores that are all equal around them; whether they are."""
    around = search.flat_range(values)
    if around is None:
        return False
    drawn["layout"][axis]["range"] = around
    for trace in drawn["data"]:
        trace["cliponaxis"] = trace.get("yaxis") == "y2"  # marks at the edge of what can be are whole
    return True


def within_view(drawn: Figure, search: Search, values: Sequence[float] | None = None) -> Figure:
    """The same with an axis on which a diverged trial does not press all others onto a line.

    Args:
        values: what is drawn; the scores of all trials without this.
    """
    known = [trial["score"] for _, trial in search.scored] if values is None else values
    if fit_equal(drawn, search, known):
        return drawn
    ordered = sorted((value for value in known if math.isfinite(number(value))), reverse=search.mode == "max")
    if len(ordered) < MIN_VALUES:
        return drawn
    best, low_quarter = ordered[0], ordered[len(ordered) * 3 // 4]
    edge = low_quarter + FAR_OUT * (low_quarter - best)
    seen = [value for value in ordered if (value >= edge if search.mode == "max" else value <= edge)]
    if len(seen) == len(ordered) or math.isclose(best, low_quarter):
        return drawn
    margin = 0.05 * (max(seen) - min(seen))
    drawn["layout"]["yaxis"]["range"] = [min(seen) - margin, max(seen) + margin]
    drawn["layout"].setdefault("annotations", []).append(
        {"xref": "paper", "yref": "paper", "x": 1, "y": 0, "xanchor": "right", "yanchor": "bottom",
         "text": f"{len(ordered) - len(seen):,} farther out; double-click shows all", "showarrow": False,
         "font": {"size": 11, "color": "@muted"}}
    )  # fmt: skip
    return drawn
