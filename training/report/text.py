"""Text and numbers as they stand on the page."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any


def esc(value: Any) -> str:
    """Anything as text that HTML or an attribute shows as it is."""
    return html.escape(str(value))


def plotted(value: Any) -> str:
    """Anything as text that a chart's label shows as it is: plotly reads some tags there, and no quoted quotes."""
    return html.escape(str(value), quote=False)


def score(value: float | None) -> str:
    """A score with the digits that tell models apart."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.5g}"


def setting(value: Any) -> str:
    """A hyperparameter: numbers short, lists as they are written."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(setting(item) for item in value)}]"
    return str(value)


def size(num_bytes: int) -> str:
    """Bytes as KB or MB, powers of ten."""
    return f"{num_bytes / 1e3:.0f} KB" if num_bytes < 1e6 else f"{num_bytes / 1e6:.1f} MB"


def milliseconds(value: float) -> str:
    """A latency with three digits; microseconds below a tenth of one."""
    return f"{value:.3g} ms" if value >= 0.1 or value == 0 else f"{1000 * value:.3g} µs"


Cell = str | tuple[str, Any]  # HTML, or HTML and the value that the column sorts by


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, sortable: bool = False, classes: Sequence[str] = ()
) -> str:
    """A table that scrolls by itself where it is too wide. Cells are HTML already."""
    head = "".join(
        f'<th scope="col">{f"<button>{esc(name)}</button>" if sortable else esc(name)}</th>' for name in heads
    )
    kinds = [*classes, *[""] * len(heads)]
    body = "".join("<tr>" + "".join(_cell(cell, kinds[i]) for i, cell in enumerate(row)) + "</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell, kind: str) -> str:
    content, key = cell if isinstance(cell, tuple) else (cell, None)
    attributes = f' class="{kind}"' if kind else ""
    if key is not None:
        attributes += f' data-key="{esc(key)}"'
    return f"<td{attributes}>{content}</td>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; values are HTML already."""
    return "<dl>" + "".join(f"<dt>{esc(name)}</dt><dd>{value}</dd>" for name, value in pairs) + "</dl>"


def money(usd: float | None) -> str:
    """US dollars; small sums with more digits, for a trial may cost less than a cent."""
    if usd is None or not math.isfinite(usd):
        return "–"
    if 0 < usd < 1e-4:
        return "under $0.0001"
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"
