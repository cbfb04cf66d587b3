"""Where the names of a chart's points go, so that none covers another, a mark or a line, on a desk or on a phone.

Plotly puts a name where it is told to, also onto others; annotations with offsets in pixels can be told a free place.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.report.shell import Figure
from training.report.text import plotted

FONT_PX, CHARACTER_PX, LINE_PX = 11, 6.2, 14  # a mean width of sans-serif fonts, a little on the safe side
SCREEN_WIDTHS_PX = (265, 930)  # of the area inside the axes: on a phone, on a desk
DISTANCES_PX = (3, 14, 26, 40, 56)  # from the mark; the farther ones get a line to it
DIRECTIONS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))
PAD_PX = 3  # around a line: half of an error bar's cap

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Axes:
    """Of a drawn figure: places as shares of the area inside, from its upper left corner."""

    across: tuple[float, float]  # range; of a logarithmic axis powers of ten
    up: tuple[float, float]
    is_log: bool

    @classmethod
    def of(cls, drawn: Figure) -> "Axes":
        """Both axes have a range by now."""
        x, y = drawn["layout"]["xaxis"], drawn["layout"]["yaxis"]
        return cls(tuple(x["range"]), tuple(y["range"]), x.get("type") == "log")

    def x(self, value: float) -> float:
        """As plotly places annotations: on a logarithmic axis the power of ten."""
        return math.log10(value) if self.is_log else value

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of a point; what lies outside is at the edge."""
        across = (self.x(x) - self.across[0]) / (self.across[1] - self.across[0])
        down = (self.up[1] - y) / (self.up[1] - self.up[0])
        return min(max(across, 0.0), 1.0), min(max(down, 0.0), 1.0)

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> Box:
        """Of a line along an axis, between two points."""
        (left, top), (right, bottom) = self.place(*start), self.place(*end)
        return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


@dataclass(frozen=True)
class Named:
    """A point with its name."""

    text: str
    x: float
    y: float
    radius_px: float


def annotations(axes: Axes, points: Sequence[Named], lines: Sequence[Box], height_px: float) -> list[Figure]:
    """One for each point, the first ones with the best places; a point without a free place goes without a name.

    Args:
        axes: of the chart.
        points: those that matter first.
        lines: what else is drawn, as shares of the area inside the axes.
        height_px: of that area.
    """
    screens = [_Screen(width, height_px, axes, points, lines) for width in SCREEN_WIDTHS_PX]
    found = []
    for point in points:
        free = (offset for offset in _offsets(point) if all(screen.is_free(point, *offset) for screen in screens))
        if (offset := next(free, None)) is not None:
            for screen in screens:
                screen.take(point, *offset)
            found.append(_annotation(point, axes, *offset))
    return found


class _Screen:
    """What is drawn on one of the widths, in pixels."""

    def __init__(
        self, width: float, height: float, axes: Axes, points: Sequence[Named], lines: Sequence[Box]
    ) -> None:  # fmt: skip
        self._width, self._height, self._axes = width, height, axes
        self._taken = [
            (left * width - PAD_PX, top * height - PAD_PX, right * width + PAD_PX, bottom * height + PAD_PX)
            for left, top, right, bottom in lines
        ]
        for point in points:
            x, y = self._at(point)
            radius = point.radius_px
            self._taken.append((x - radius, y - radius, x + radius, y + radius))

    def is_free(self, point: Named, ax: float, ay: float) -> bool:
        """Whether a name that far from its point lies inside, and on nothing."""
        left, top, right, bottom = self._box(point, ax, ay)
        if left < 0 or top < 0 or right > self._width or bottom > self._height:
            return False
        return not any(left < o[2] and right > o[0] and top < o[3] and bottom > o[1] for o in self._taken)

    def take(self, point: Named, ax: float, ay: float) -> None:
        """The name is there."""
        self._taken.append(self._box(point, ax, ay))

    def _at(self, point: Named) -> tuple[float, float]:
        across, down = self._axes.place(point.x, point.y)
        return across * self._width, down * self._height

    def _box(self, point: Named, ax: float, ay: float) -> Box:
        x, y = self._at(point)
        long = CHARACTER_PX * len(point.text)
        left = x + ax - (0 if ax > 0 else long if ax < 0 else long / 2)
        top = y + ay - (0 if ay > 0 else LINE_PX if ay < 0 else LINE_PX / 2)
        return left, top, left + long, top + LINE_PX


def _offsets(point: Named) -> Iterator[tuple[float, float]]:
    for distance in DISTANCES_PX:
        for right, down in DIRECTIONS:
            reach = (point.radius_px + distance) * (0.8 if right and down else 1)
            yield right * reach, down * reach


def _annotation(point: Named, axes: Axes, ax: float, ay: float) -> Figure:
    anchors = {1: ("left", "top"), -1: ("right", "bottom"), 0: ("center", "middle")}
    return {
        "x": axes.x(point.x), "y": point.y, "text": plotted(point.text), "ax": ax, "ay": ay, "showarrow": True,
        "arrowhead": 0, "arrowwidth": 1, "arrowcolor": "@faint", "standoff": point.radius_px, "borderpad": 0,
        "xanchor": anchors[(ax > 0) - (ax < 0)][0], "yanchor": anchors[(ay > 0) - (ay < 0)][1],
        "font": {"size": FONT_PX, "color": "@ink"},
    }  # fmt: skip
