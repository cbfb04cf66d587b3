"""What every page has: style, figures as JSON, and plotly.js once, so that it opens without a network."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from training.report.text import esc, plotted

HERE = Path(__file__).parent
Figure = dict[str, Any]
LONG = 9  # characters of a tile's figure, above which it is set smaller


@dataclass(frozen=True)
class Part:
    """A piece of a page: its HTML, and the figures that it has places for. An empty one is false."""

    html: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.html)

    def under(self, heading: str, about: str = "", level: int = 3) -> "Part":
        """The same below a heading and a sentence; nothing where it is empty."""
        if not self:
            return self
        said = f"<p class='muted'>{about}</p>" if about else ""
        return Part(f"<h{level}>{esc(heading)}</h{level}>{said}{self.html}", self.figures)

    def section(self, name: str, heading: str, about: str = "") -> "Part":
        """The same in a frame of its own; nothing where it is empty."""
        if not self:
            return self
        return Part(f'<section id="{name}">{self.under(heading, about, 2).html}</section>', self.figures)


def together(parts: Iterable[Part]) -> Part:
    """One after the other."""
    listed = list(parts)
    figures = {name: drawn for part in listed for name, drawn in part.figures.items()}
    return Part("".join(part.html for part in listed), figures)


def chart_part(name: str, caption: str, drawn: Figure, *, wide: bool = False) -> Part:
    """A chart with its place."""
    return Part(chart(name, caption, wide=wide), {name: drawn})


def chart_grid(parts: Iterable[Part], kind: str = "charts") -> Part:
    """Charts side by side where there is room; nothing where there are none."""
    joined = together(parts)
    return Part(f'<div class="{kind}">{joined.html}</div>', joined.figures) if joined else joined


def html_page(title: str, body: str, figures: Mapping[str, Figure], version: str | None = None) -> str:
    """A whole page, of which `body` is the HTML inside and `figures` are what it has places for, see `chart`.

    Args:
        version: of what is inside, where the page is served by `manta report --watch` and asks for what is new.
    """
    is_live = version is not None
    icon = '<link rel="icon" href="data:,">' if is_live else ""  # else a browser asks the server for one
    bar = f'<p id="live" data-version="{version}"><span role="status"></span> <time></time></p>' if is_live else ""
    watch = f"<script>{(HERE / 'watch.js').read_text()}</script>" if is_live else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"{icon}"
        f"<title>{esc(title)} · manta</title><style>{(HERE / 'page.css').read_text()}</style></head>"
        f"<body>{bar}<main>{body}</main>"
        f'<script type="application/json" id="figures">{_json(figures)}</script>'
        f"{f'<script>{get_plotlyjs()}</script>' if figures or is_live else ''}"
        f"<script>{(HERE / 'page.js').read_text()}</script>{watch}</body></html>\n"
    )


def chart(name: str, caption: str, *, wide: bool = False) -> str:
    """A place that the page's script draws a figure into."""
    return (
        f'<figure id="chart-{name}"{" class=wide" if wide else ""}><figcaption>{esc(caption)}</figcaption>'
        f'<div class="scroll"><div class="chart" data-chart="{name}"></div></div></figure>'
    )


def figure(traces: Sequence[Figure], x: str, y: str) -> Figure:
    """Traces with titles of the axes. A colour such as "@accent" is looked up in the page's style when drawn."""
    layout = {
        "height": 320, "margin": {"l": 60, "r": 16, "t": 34, "b": 46},
        "xaxis": {"title": {"text": plotted(x)}}, "yaxis": {"title": {"text": plotted(y)}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, "hovermode": "closest",
        "uirevision": "kept",  # a chart that is drawn again keeps the part that a person looks at
    }  # fmt: skip
    return {"data": list(traces), "layout": layout}


def tile_row(values: Sequence[tuple[str, str, str]]) -> str:
    """The figures that matter, one tile each: name, value, note."""
    cells = (
        f'<div class="tile"><span>{esc(name)}</span>{_figure_of_tile(value)}<small>{esc(note)}</small></div>'
        for name, value, note in values
    )
    return f'<div class="tiles">{"".join(cells)}</div>' if values else ""


def _figure_of_tile(value: str) -> str:
    kind = ' class="long"' if len(value) > LONG else ""
    return f"<b{kind}>{esc(value)}</b>"


def _json(figures: Mapping[str, Figure]) -> str:
    """JSON that a browser reads (no NaN) and that cannot end its own script element."""
    return json.dumps(finite(figures), allow_nan=False).replace("<", "\\u003c")


def finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
