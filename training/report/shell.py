"""What every page has: style, figures as JSON, and plotly.js once, so that it opens without a network."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from training.report.text import esc, plotted

HERE = Path(__file__).parent
Figure = dict[str, Any]


def html_page(title: str, body: str, figures: Mapping[str, Figure]) -> str:
    """A whole page, of which `body` is the HTML inside and `figures` are what it has places for, see `chart`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{esc(title)} · manta</title><style>{(HERE / 'page.css').read_text()}</style></head>"
        f"<body><main>{body}</main>"
        f'<script type="application/json" id="figures">{_json(figures)}</script>'
        f"{f'<script>{get_plotlyjs()}</script>' if figures else ''}"
        f"<script>{(HERE / 'page.js').read_text()}</script></body></html>\n"
    )


def chart(name: str, caption: str, *, wide: bool = False) -> str:
    """A place that the page's script draws a figure into."""
    return (
        f"<figure{' class=wide' if wide else ''}><figcaption>{esc(caption)}</figcaption>"
        f'<div class="scroll"><div class="chart" data-chart="{name}"></div></div></figure>'
    )


def figure(traces: Sequence[Figure], x: str, y: str) -> Figure:
    """Traces with titles of the axes. A colour such as "@accent" is looked up in the page's style when drawn."""
    layout = {
        "height": 320, "margin": {"l": 60, "r": 16, "t": 34, "b": 46},
        "xaxis": {"title": {"text": plotted(x)}}, "yaxis": {"title": {"text": plotted(y)}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, "hovermode": "closest",
    }  # fmt: skip
    return {"data": list(traces), "layout": layout}


def tile_row(values: Sequence[tuple[str, str, str]]) -> str:
    """The figures that matter, one tile each: name, value, note."""
    cells = (
        f'<div class="tile"><span>{esc(name)}</span><b>{esc(value)}</b><small>{esc(note)}</small></div>'
        for name, value, note in values
    )
    return f'<div class="tiles">{"".join(cells)}</div>' if values else ""


def _json(figures: Mapping[str, Figure]) -> str:
    """JSON that a browser reads (no NaN) and that cannot end its own script element."""
    return json.dumps(_finite(figures), allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
