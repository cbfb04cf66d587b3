"""A drill as a picture: steps over time, the events on it, the unbroken run beside it. SVG, written by hand."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from cluster.drill.outcome import Outcome, Reading
from cluster.drill.plan import Kind
from cluster.drill.result import DrillResult, RunFacts

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 440, 74, 24, 64, 92
COLOURS = {
    Kind.NOTICE: "notice",
    Kind.KILL_WORKER: "worker",
    Kind.KILL_NODE: "node",
    Kind.KILL_DRIVER: "driver",
    Kind.KILL_CLUSTER: "cluster",
}
# Middle tones on no background: an image in a page cannot know whether the page around it is light or dark.
STYLE = """
text { font: 13px system-ui, -apple-system, sans-serif; fill: #7d8590; }
.title { font-size: 16px; }
.grid { stroke: #7d8590; stroke-opacity: .25; } .absent { fill: #7d8590; opacity: .3; }
.line { fill: none; stroke: #7d8590; stroke-width: 2; } .unbroken { stroke-dasharray: 5 4; stroke-opacity: .7; }
.notice { fill: #3b82f6; } .worker { fill: #e8702a; } .node { fill: #e5484d; }
.driver { fill: #a371f7; } .cluster { fill: #2da44e; }
.bad { stroke: #e5484d; stroke-width: 3; fill: none; }
"""


class _Axes:
    """Seconds and steps to points."""

    def __init__(self, seconds: float, steps: int) -> None:
        self.seconds, self.steps = max(seconds, 1.0), max(steps, 1)

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / self.seconds, 0.0), 1.0)

    def y(self, step: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(step / self.steps, 0.0), 1.0)


def drill_svg(result: DrillResult) -> str:
    """The picture."""
    axes = _Axes(max(result.broken.wall_s, result.unbroken.wall_s), result.unbroken.num_steps)
    lost = sum(outcome.steps_lost for outcome in result.outcomes)
    title = f"{result.name}: {len(result.outcomes)} events, {lost} steps made again, " + (
        "weights equal" if result.weights and result.weights.is_equal else "weights not equal"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img">',
        f"<title>{_plain(title)}</title><style>{STYLE}</style>",
        _text(LEFT, 28, title, "start", "title"),
        *_absences(result, axes),
        *_grid(axes),
        _line(result.unbroken, axes, "unbroken"),
        _line(result.broken, axes, "broken"),
        *(mark for outcome in result.outcomes for mark in _mark(outcome, result.broken, axes)),
        *_legend(result),
    ]
    return "\n".join([*parts, "</svg>", ""])


def write_svg(result: DrillResult, path: Path) -> None:
    """Write the picture. Raises OSError."""
    path.write_text(drill_svg(result), encoding="utf-8")


def _grid(axes: _Axes) -> Iterator[str]:
    bottom = axes.y(0)
    for seconds in _ticks(axes.seconds):
        x = axes.x(seconds)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom:.1f}"/>'
        yield _text(x, bottom + 20, f"{seconds:g}")
    for step in _ticks(axes.steps):
        y = axes.y(step)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, f"{step:,.0f}", "end")
    yield _text((LEFT + WIDTH - RIGHT) / 2, bottom + 42, "seconds since the command")
    yield f'<g transform="rotate(-90)">{_text(-(TOP + bottom) / 2, 18, "optimizer step")}</g>'


def _ticks(most: float) -> list[float]:
    """Four to ten round numbers from 0."""
    step = 10.0 ** (len(str(int(most))) - 1)
    while most / step < 4:
        step /= 2
    return [step * number for number in range(int(most / step) + 1)]


def _line(run: RunFacts, axes: _Axes, name: str) -> str:
    points = [Reading(run.began_at, 0), *(each for each in run.readings if each.time >= run.began_at)]
    end = Reading(run.began_at + run.wall_s, points[-1].step)
    places = " ".join(
        f"{axes.x(each.time - run.began_at):.1f},{axes.y(each.step):.1f}" for each in _falling([*points, end])
    )
    return f'<polyline class="line {name}" points="{places}"/>'


def _falling(readings: Sequence[Reading]) -> list[Reading]:
    """With a corner where the run goes back: it stood until then."""
    corners = [
        Reading(after.time, before.step) for before, after in pairwise(readings) if after.step < before.step
    ]  # fmt: skip
    return _thin(sorted([*readings, *corners], key=lambda each: (each.time, -each.step)))


def _thin(readings: Sequence[Reading]) -> list[Reading]:
    """Without those that lie between two of the same step: a run that waits says so many times."""
    inner = [
        each
        for before, each, after in zip(readings, readings[1:], readings[2:], strict=False)
        if not before.step == each.step == after.step
    ]
    return [readings[0], *inner, readings[-1]]


def _absences(result: DrillResult, axes: _Axes) -> Iterator[str]:
    for begin, end in result.absences:
        left, right = (axes.x(time - result.broken.began_at) for time in (begin, end))
        yield (
            f'<rect class="absent" x="{left:.1f}" y="{TOP}" width="{max(right - left, 1):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/>'
        )


def _mark(outcome: Outcome, run: RunFacts, axes: _Axes) -> Iterator[str]:
    before = [each.step for each in run.readings if each.time <= outcome.blow.time]
    x, y = axes.x(outcome.blow.time - run.began_at), axes.y(before[-1] if before else 0)
    kind = COLOURS[outcome.blow.kind]
    yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if not outcome.ok:
        yield f'<circle class="bad" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'


def _legend(result: DrillResult) -> Iterator[str]:
    x, y = float(LEFT), HEIGHT - 18
    kinds = [kind for kind in Kind if any(outcome.blow.kind == kind for outcome in result.outcomes)]
    for kind in kinds:
        number = sum(outcome.blow.kind == kind for outcome in result.outcomes)
        label = f"{kind.replace('_', ' ')} ({number})"
        yield f'<circle class="{COLOURS[kind]}" cx="{x + 5:.1f}" cy="{y - 4}" r="5"/>{_text(x + 16, y, label, "start")}'
        x += 34 + 7.2 * len(label)
    for name, label in (("unbroken", "without events"), ("absent", "no machine")):
        if name == "absent" and not result.absences:
            continue
        shape = (
            f'<line class="line unbroken" x1="{x:.1f}" y1="{y - 4}" x2="{x + 22:.1f}" y2="{y - 4}"/>'
            if name == "unbroken"
            else f'<rect class="absent" x="{x:.1f}" y="{y - 11}" width="22" height="13"/>'
        )
        yield f"{shape}{_text(x + 28, y, label, 'start')}"
        x += 46 + 7.2 * len(label)


def _text(x: float, y: float, text: str, anchor: str = "middle", name: str = "") -> str:
    of_class = f' class="{name}"' if name else ""
    return f'<text{of_class} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_plain(text)}</text>'


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
