"""A plan as text and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cluster.console import duration, table_lines
from training.search.plan.cost import Cost
from training.search.plan.estimate import Interval
from training.search.plan.plan import Plan

NAME_WIDTH = 11


def plan_json(plan: Plan) -> dict[str, Any]:
    """Everything, for programs. Times are in seconds."""
    told = asdict(plan)
    told["share"] = dict(zip(("low", "usual", "high"), plan.share, strict=True))
    return told


def plan_text(plan: Plan, *, with_settings: bool = False) -> str:
    """A page for people."""
    lines = [_line("space", _size(plan)), *_indented(table_lines([[key, words] for key, words in plan.space.items()]))]
    lines += [_line("first" if not i else "", _settings(point)) for i, point in enumerate(plan.points)]
    done = f", {plan.trials_done} of them ended already" if plan.trials_done else ""
    lines.append(_line("trials", f"{plan.trials:,}{done}, judged by {plan.metric}{_others(plan)}"))
    lines += [_line("sampler", plan.sampler), *(_line("", note) for note in plan.sampler_notes)]
    lines.append(_line("scheduler", _scheduler(plan)))
    lines.append(_line("slots", _slots(plan)))
    lines.append(_line("stacked", plan.stackable.words))
    lines += [_line("measured" if not i else "", text) for i, text in enumerate(_costs(plan, with_settings))]
    lines.append(_line("one trial", f"{_interval(plan.estimate.trial_s, _seconds)}, trained to its end by itself"))
    lines.append(_line("time", _interval(plan.estimate.wall_s, _seconds)))
    lines.append(_line("devices", _interval(plan.estimate.device_hours, lambda hours: f"{hours:.3g} h")))
    if plan.estimate.usd is not None:
        lines.append(_line("money", _interval(plan.estimate.usd, lambda usd: f"{usd:.3g} USD")))
    if plan.budget is not None:
        lines.append(_line("budget", f"pays for {_interval(plan.budget, lambda share: f'{share:.0%}')} of it"))
    return "\n".join([*lines, *(_line("warning", text) for text in plan.warnings)])


def _line(name: str, text: str) -> str:
    return f"{name:<{NAME_WIDTH}}{text}".rstrip()


def _indented(lines: list[str]) -> list[str]:
    return [_line("", f"  {line}") for line in lines]


def _size(plan: Plan) -> str:
    size = "no end of combinations" if plan.size is None else f"{plan.size:,} combinations"
    return f"{len(plan.space)} {'key' if len(plan.space) == 1 else 'keys'}, {size}"


def _settings(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in params.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _others(plan: Plan) -> str:
    others = plan.objectives[1:]
    return f", against {', '.join(others)}" if others else ""


def _scheduler(plan: Plan) -> str:
    if not plan.rungs:
        return f"{plan.scheduler}: each trial goes to its end, {plan.last_level} {plan.level}"
    rungs = ", ".join(str(rung) for rung in plan.rungs[:8]) + (", ..." if len(plan.rungs) > 8 else "")
    low, usual, high = (f"{share:.0%}" for share in plan.share)
    trained = f"about {usual} of all {plan.level} are trained ({low} to {high})" if low != high else "none is stopped"
    return f"{plan.scheduler}: judged after {rungs} of {plan.last_level} {plan.level}; {trained}"


def _slots(plan: Plan) -> str:
    each = f"{plan.slots.cpus:g} CPU" + (f" and {plan.slots.gpus:g} GPU" if plan.slots.gpus else "")
    return f"{plan.slots.count} of {each} each, {plan.slots.where}"


def _costs(plan: Plan, with_settings: bool) -> list[str]:
    several = len(plan.costs) > 1
    names = ["cheapest: ", *[""] * (len(plan.costs) - 2), "dearest: "] if several else [""]
    lines = []
    for name, cost in zip(names, plan.costs, strict=True):
        lines.append(f"{name}{_cost(cost)}")
        if with_settings:
            lines.append(f"  {_settings(cost.params)}")
    return lines


def _cost(cost: Cost) -> str:
    return (
        f"an epoch {_seconds(cost.epoch_s)} ({cost.steps_per_epoch:,} steps of {_seconds(cost.step_s)}), "
        f"{_seconds(cost.setup_s)} to begin, {cost.num_weights:,} weights"
    )


def _interval(interval: Interval, words: Any) -> str:
    low, usual, high = words(interval.low), words(interval.usual), words(interval.high)
    return usual if low == high else f"about {usual} ({low} to {high})"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
