"""A chart of lines on two logarithmic axes, written as SVG by hand: no library in the house writes one."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Middle tones on no background: an image in a README cannot know whether the page around it is light or dark.
INK, GRID = "#7d8590", "#7d859040"
COLOURS = ("#3b82f6", "#e8702a", "#2da44e", "#a371f7")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 70, 146, 56, 58

Point = tuple[float, float]
Place = Callable[[Point], Point]  # a point of the data -> where it is drawn


def write_chart(
    path: Path, title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[Point]], guide: str,
    unit: str | None = "s", bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
) -> None:  # fmt: skip
    """Write the chart.

    Args:
        path: the SVG file.
        title: above it.
        x_label: below it.
        y_label: beside it.
        lines: name -> points, all above 0.
        guide: name of a dashed line of slope 1 through the first point of the first line; empty: none.
        unit: of the numbers at the points; None: points and numbers are left out.
        bands: name of a line -> (x, low, high) of an interval about it, all above 0.
    """
    bands = bands or {}
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    ys += [y for points in bands.values() for _, *both in points for y in both]
    axis_x, axis_y = _axis(xs), _axis(ys)

    def place(point: Point) -> Point:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * _share(point[0], axis_x),
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(point[1], axis_y),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, -apple-system, sans-serif" font-size="13" fill="{INK}" role="img">',
        f"<title>{_plain(title)}</title>",
        _text(LEFT, 28, title, "start", size=16),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label),
        f'<g transform="rotate(-90)">{_text(-(TOP + HEIGHT - BOTTOM) / 2, 18, y_label)}</g>',
        *_grid(axis_x, axis_y, place),
    ]
    names: dict[str, float] = {}
    if guide:
        guided = [place(point) for point in _guide(next(iter(lines.values()))[0], axis_x, axis_y)]
        parts.append(_stroke(guided, INK, 'stroke-dasharray="3 5"'))
        names[guide] = guided[-1][1]
    for name, colour in zip(lines, COLOURS, strict=False):
        around = bands.get(name, ())
        outline = [(x, high) for x, _, high in around] + [(x, low) for x, low, _ in reversed(around)]
        parts += [_area([place(point) for point in outline], colour)] if outline else []
    highest = max(points[-1][1] for points in lines.values())
    for colour, points in zip(COLOURS, lines.values(), strict=False):
        below = -10 if points[-1][1] == highest else 20  # neighbours would write over each other
        parts += _line([place(point) for point in points], [y for _, y in points], colour, below, unit)
    ends = {name: place(points[-1])[1] for name, points in lines.items()}
    parts += _names(ends | names, dict(zip(ends, COLOURS, strict=False)))
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def _axis(values: Sequence[float]) -> Point:
    """Logarithms of its ends: whole decades, but where one or two would be half empty."""
    low, high = math.log10(min(values)), math.log10(max(values))
    if high - low > 2:
        return math.floor(low), math.ceil(high)
    below = max(tick for tick in _steps(low, high) if tick <= low + 1e-9)
    above = min(tick for tick in _steps(low, high) if tick >= high - 1e-9)
    return (below, above) if above > below else (below, below + 1)


def _steps(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2, 5, 10 and so on, around an interval."""
    powers = range(math.floor(low) - 1, math.ceil(high) + 2)
    return [power + math.log10(digit) for power in powers for digit in (1, 2, 5)]


def _ticks(axis: Point) -> list[float]:
    """Their logarithms."""
    every = _steps(*axis) if axis[1] - axis[0] < 2 else list(range(math.ceil(axis[0]), math.floor(axis[1]) + 1))
    return [tick for tick in every if axis[0] - 1e-9 <= tick <= axis[1] + 1e-9]


def _share(value: float, axis: Point) -> float:
    return (math.log10(value) - axis[0]) / (axis[1] - axis[0])


def _grid(axis_x: Point, axis_y: Point, place: Place) -> list[str]:
    parts = []
    for power in _ticks(axis_x):
        x, bottom = place((10.0**power, 10.0 ** axis_y[0]))
        parts += [_stroke([(x, TOP), (x, bottom)], GRID), _text(x, bottom + 20, f"{round(10**power, 6):,g}")]
    for power in _ticks(axis_y):
        left, y = place((10.0 ** axis_x[0], 10.0**power))
        parts += [
            _stroke([(left, y), (WIDTH - RIGHT, y)], GRID),
            _text(left - 8, y + 4, f"{round(10.0**power, 6):g}", "end"),
        ]
    return parts


def _guide(start: Point, axis_x: Point, axis_y: Point) -> list[Point]:
    """Both ends of a line of slope 1 from there to the edge."""
    reach = min(10.0 ** axis_x[1] / start[0], 10.0 ** axis_y[1] / start[1])
    return [start, (start[0] * reach, start[1] * reach)]


def _line(places: list[Point], values: list[float], colour: str, below: int, unit: str | None) -> list[str]:
    parts = [_stroke(places, colour, 'stroke-width="2.5" stroke-linejoin="round"')]
    if unit is None:
        return parts
    for (x, y), value in zip(places, values, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        parts.append(_text(x, y + below, f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}", colour=colour))
    return parts


def _names(height_of: Mapping[str, float], colour_of: Mapping[str, str]) -> list[str]:
    """The lines' names at their right ends, never closer than a line of text."""
    parts, lowest = [], 0.0
    for name, height in sorted(height_of.items(), key=lambda item: item[1]):
        lowest = max(height, lowest + 20)
        parts.append(_text(WIDTH - RIGHT + 26, lowest + 5, name, "start", colour=colour_of.get(name, INK), size=14))
    return parts


def _stroke(places: Sequence[Point], colour: str, more: str = "") -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" {more}/>'


def _area(places: Sequence[Point], colour: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polygon points="{points}" fill="{colour}" fill-opacity="0.13"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = INK, size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{_plain(text)}</text>'
    )


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
