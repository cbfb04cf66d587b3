"""The best trials: their settings against the experiment's own, and how sure their scores are."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from training.evaluation.folds import METHOD, FoldSpread
from training.event_text import counted, duration
from training.journal import Event
from training.report.search.pareto import objective_text, title_of
from training.report.search.progress import fit_equal
from training.report.search.view import Search, units_of
from training.report.shell import Figure, Part, chart_grid, chart_part, figure, together
from training.report.text import Cell, esc, facts, money, plotted, score, setting, table
from training.search.space.values import same

NUM_BEST = 10
SOURCES = {
    "point": "a given point", "random": "drawn at random", "sampler": "the sampler's", "earlier run": "an earlier run's"
}  # fmt: skip


def best(search: Search) -> Part:
    """Empty where no trial has a score."""
    top = search.ranked[:NUM_BEST]
    if not top:
        return Part()
    parts = [
        Part(_winner(search, top[0]) + _lineage(search, top[0])),
        Part(_table(search, top)),
        _intervals(search, top),
    ]
    return together(parts)


def _winner(search: Search, trial: Event) -> str:
    pairs = []
    for key in search.keys:
        if key not in trial["params"]:
            continue
        value, own = trial["params"][key], search.record.own_setting(key)
        said = "as in the experiment" if same(value, own) else f"the experiment says {setting(own)}"
        told = f"<b>{esc(setting(value))}</b>" + (f" <span class='muted'>{esc(said)}</span>" if own is not None else "")
        pairs.append((key, told))
    options = " ".join(
        "--set " + shlex.quote(f"{key}={json.dumps(value, ensure_ascii=False)}")
        for key, value in trial["params"].items()
    )
    again = f"<details><summary>These settings as options</summary><pre>{esc(options)}</pre></details>"
    if trial["trial"] != search.best:
        return f"<p>No trial has finished yet; {esc(trial['trial'])} had the best score when it was stopped.</p>"
    return (
        f"<p><b>{esc(trial['trial'])} ★</b> has {esc(search.metric)} {score(trial['score'])}</p>{facts(pairs)}{again}"
    )


def _lineage(search: Search, trial: Event) -> str:
    """A member of a population took others' weights on its way: whose, and with which settings it went on."""
    rows = [
        (
            counted(int(step["level"]), search.unit), esc(step.get("from", "")),
            esc(", ".join(f"{key} {setting(value)}" for key, value in (step.get("params") or {}).items())),
            esc(step.get("why", "")),
        )
        for step in trial.get("lineage") or ()
    ]  # fmt: skip
    if not rows:
        return ""
    grid = table(("after", "weights of", "went on with", "why"), rows, classes=("", "", "cause", "cause"))
    return f"<h3>How it came there</h3>{grid}"


def _table(search: Search, top: Sequence[Event]) -> str:
    """The first row is the experiment itself; a setting that differs from it is bold."""
    others = [name for name, _ in search.record.objectives if name != "score"]
    has_units = any(units_of(trial) for trial in top)
    has_money = any(trial.get("usd") is not None for trial in top)
    heads = [
        "", "trial", search.metric, *(["95 % interval", f"behind ★, same {search.part}s"] if has_units else []),
        *(title_of(search, name) for name in others), *search.keys, f"{search.unit}s", "time",
        *(["cost"] if has_money else []), "found by",
    ]  # fmt: skip
    own = [setting(value) if (value := search.record.own_setting(key)) is not None else "–" for key in search.keys]
    num_before = 3 + 2 * has_units + len(others)
    first = ["", "<i>the experiment</i>", *[""] * (num_before - 2), *map(esc, own), *[""] * (3 + has_money)]
    rows: list[Sequence[Cell]] = [first]
    for place, trial in enumerate(top, 1):
        name = f"<b>{esc(trial['trial'])} ★</b>" if trial["trial"] == search.best else esc(trial["trial"])
        spread = _sure(search, trial, top[0]) if has_units else []
        values = [objective_text(trial, other) for other in others]
        rows.append([
            str(place), name + _unfinished(trial), score(trial["score"]), *spread, *values,
            *(_setting(search, trial, key) for key in search.keys),
            str(_age(trial)), duration(trial.get("seconds") or 0.0), *([money(trial.get("usd"))] if has_money else []),
            esc(SOURCES.get(trial.get("source", ""), "–")),
        ])  # fmt: skip
    kinds = ("num", "", *["num"] * (len(heads) - 3), "")
    said = " ".join(sentence for sentence in (ties(search, len(top)), two_tests(search, top)) if sentence)
    note = f"<p class='muted'>{esc(said)}</p>" if said else ""
    return f"<h3>The best {len(top)}</h3>{table(heads, rows, classes=kinds)}{note}"


def ties(search: Search, num: int) -> str:
    """How equal scores are ordered; empty where the best, and the one after them, have none."""
    scores = [trial["score"] for trial in search.ranked[: num + 1]]
    if len(set(scores)) == len(scores):
        return ""
    rule = "the lower loss comes first, then the lower number" if search.losses else "the lower number comes first"
    return f"Of equal scores {rule}."


def two_tests(search: Search, top: Sequence[Event]) -> str:
    """Why a trial that racing stopped may not be told apart; empty where racing stopped none of these."""
    if search.record.last("search").get("scheduler") != "racing":
        return ""
    if not any(trial["state"] == "pruned" and len(units_of(trial)) > 1 for trial in top):
        return ""
    scheduler = (search.record.experiment.get("search") or {}).get("scheduler")
    p_value = scheduler.get("p_value") if isinstance(scheduler, dict) else None
    bound = "" if p_value is None else f", p below {p_value:g}"
    return (
        f"Two tests, which need not agree: racing stopped trials by Wilcoxon's signed-rank test (one-sided{bound}); "
        "here the 95 % interval of the mean difference tells trials apart."
    )


def _unfinished(trial: Event) -> str:
    return "" if trial["state"] == "complete" else " <span class='muted'>stopped</span>"


def _age(trial: Event) -> int:
    return len(trial.get("replicates") or ()) or int(trial.get("epochs") or 0)


def _setting(search: Search, trial: Event, key: str) -> str:
    if key not in trial["params"]:
        return "<span class='muted'>–</span>"
    value = trial["params"][key]
    shown = esc(setting(value))
    return f"<span class='muted'>{shown}</span>" if same(value, search.record.own_setting(key)) else f"<b>{shown}</b>"


def _sure(search: Search, trial: Event, leader: Event) -> list[str]:
    """The mean's interval, and the difference to the best on the same folds, which is the fair comparison."""
    units = units_of(trial)
    if len(units) < 2:
        return ["–", "–"]
    shown = _interval(search.spread(list(units.values())))
    behind = behind_of(search, trial, leader)
    if behind is None:
        return [shown, "–"]
    told = f"{abs(behind.mean):.4f}" + ("" if is_clear(behind) else " <span class='muted'>not told apart</span>")
    return [shown, told]


def behind_of(search: Search, trial: Event, leader: Event) -> FoldSpread | None:
    """How far a trial is behind the leader on the folds or seeds of both; None where those are fewer than two."""
    units, best = units_of(trial), units_of(leader)
    both = [unit for unit in units if unit in best]
    if trial["trial"] == leader["trial"] or len(both) < 2:
        return None
    sign = 1 if search.mode == "max" else -1
    return search.spread([sign * (best[unit] - units[unit]) for unit in both], is_difference=True)


def is_clear(behind: FoldSpread) -> bool:
    """Whether the interval of a difference leaves 0 out."""
    return behind.low is not None and behind.high is not None and not behind.low <= 0 <= behind.high


def _interval(spread: FoldSpread) -> str:
    return "–" if spread.low is None else f"{score(spread.low)} to {score(spread.high)}"


def _intervals(search: Search, top: Sequence[Event]) -> Part:
    known = [(trial, units_of(trial)) for trial in top if len(units_of(trial)) > 1]
    if not known:
        return Part()
    unclear = [
        trial["trial"] for trial, _ in known
        if (behind := behind_of(search, trial, top[0])) is not None and not is_clear(behind)
    ]  # fmt: skip
    said = (
        f"On the same {search.part}s {', '.join(unclear)} cannot be told apart from {top[0]['trial']}: the interval of "
        "their difference holds 0. " if unclear else ""
    )  # fmt: skip
    how = METHOD if search.held_over_trained else f"Student's t interval over the {search.part}s"
    caption = f"Mean over {search.part}s with its 95 % interval; small dots are the single {search.part}s"
    part = chart_grid([chart_part("intervals", caption, _interval_chart(search, known), wide=True)])
    return Part(f"{part.html}<p class='muted'>{esc(f'{said}Intervals: {how}.')}</p>", part.figures)


def _interval_chart(search: Search, known: Sequence[tuple[Event, dict[int, float]]]) -> Figure:
    spreads = [search.spread(list(units.values())) for _, units in known]
    names = [plotted(trial["trial"]) for trial, _ in known]
    colours = ["@second" if trial["trial"] == search.best else "@accent" for trial, _ in known]
    means: Figure = {
        "type": "scatter", "mode": "markers", "name": "mean", "y": names, "x": [spread.mean for spread in spreads],
        "marker": {"color": colours, "size": 10},
        "error_x": {"type": "data", "symmetric": False, "thickness": 2, "color": "@accent",
                    "array": [_reach(spread.high, spread.mean) for spread in spreads],
                    "arrayminus": [_reach(spread.low, spread.mean) for spread in spreads]},
        "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    dots: Figure = {
        "type": "scatter", "mode": "markers", "name": f"one {search.part}",
        "y": [name for name, (_, units) in zip(names, known, strict=True) for _ in units],
        "x": [value for _, units in known for value in units.values()],
        "text": [f"{search.part} {unit}" for _, units in known for unit in units],
        "marker": {"color": "@faint", "size": 5}, "hovertemplate": "%{y}, %{text}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    drawn = figure([dots, means], search.metric, "")
    fit_equal(drawn, search, dots["x"], "xaxis")
    drawn["layout"]["height"] = 140 + 26 * len(known)
    drawn["layout"]["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return drawn


def _reach(bound: Any, mean: float) -> float:
    return 0.0 if bound is None else abs(float(bound) - mean)
