"""The page put together: style, sections, figures as JSON, and plotly.js once, so that it opens without a network."""

import json
import math
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from training.report import charts, sections
from training.report.text import esc
from training.run_folder import write_text
from training.run_record import RunRecord

HERE = Path(__file__).parent


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path. Any run will do: unfinished, failed, without search.

    Raises:
        StorageError: the folder is not a run.
    """
    path = run_folder / "report.html"
    write_text(path, render(RunRecord.read(run_folder)))
    return path


def render(record: RunRecord) -> str:
    """The whole page."""
    parts = [
        sections.header(record),
        sections.variants(record),
        sections.search(record),
        sections.training(record),
        sections.data(record),
        sections.environment(record),
    ]
    body = "".join(parts)
    figures = {name: draw(record) for name, draw in _CHARTS.items() if f'data-chart="{name}"' in body}
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{esc(record.name)} · manta</title><style>{(HERE / 'page.css').read_text()}</style></head>"
        f"<body><main>{body}</main>"
        f'<script type="application/json" id="figures">{_json(figures)}</script>'
        f"{f'<script>{get_plotlyjs()}</script>' if figures else ''}"
        f"<script>{(HERE / 'page.js').read_text()}</script></body></html>\n"
    )


_CHARTS = {
    "objective": charts.objective,
    "curves": charts.learning_curves,
    "parallel": charts.parallel_coordinates,
    "losses": charts.fit_losses,
    "scores": charts.fit_scores,
    "variants": charts.variants,
}


def _json(figures: dict[str, Any]) -> str:
    """JSON that a browser reads (no NaN) and that cannot end its own script element."""
    return json.dumps(_finite(figures), allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
