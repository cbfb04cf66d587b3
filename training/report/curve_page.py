"""The page of `manta curve`: scores over training rows with their bands, and what they say."""

from training.curve_record import CurveRecord
from training.evaluation.curve import METHOD, Point, points_of
from training.evaluation.curve_words import HEADS, reading, row_text, spread_text
from training.evaluation.power_law import PowerLaw, fit_power_law
from training.report.curve_charts import curve_chart
from training.report.shell import Figure, chart, html_page, tile_row
from training.report.text import esc, score, table

OTHERS = {
    "classification": ("log_loss", "roc_auc", "f1_macro"), "regression": ("rmse", "mae", "r2"),
    "multilabel": ("log_loss", "roc_auc", "f1_macro"), "language_modelling": ("bits_per_byte", "accuracy"),
}  # fmt: skip
NUM_OTHERS = 2


def curve_page(record: CurveRecord) -> str:
    """The whole page, self-contained."""
    points = points_of(record.measured, record.metric)
    law = fit_power_law(points, record.mode)
    figures: dict[str, Figure] = {"curve": curve_chart(record, points, record.metric, law)}
    for metric in [name for name in OTHERS[record.task] if name != record.metric][:NUM_OTHERS]:
        if others := points_of(record.measured, metric):
            figures[metric] = curve_chart(record, others, metric, None)
    parts = [_header(record), _tiles(points, law, record), _plot(record, points, law), _others(figures), _table(points)]
    return html_page(f"{record.name}: learning curve", "".join(parts), figures)


def _header(record: CurveRecord) -> str:
    return (
        f'<header><p class="kicker">manta curve</p><h1>{esc(record.name)}</h1>'
        f'<p class="muted">{esc(record.metric)} by number of training rows, judged on the same '
        f"{record.num_validation_rows:,} validation rows</p></header>"
    )


def _tiles(points: tuple[Point, ...], law: PowerLaw | None, record: CurveRecord) -> str:
    if not points:
        return ""
    last = points[-1]
    values = [
        ("validation", score(last.validation.mean), spread_text(last.validation)),
        ("training", score(last.train.mean), spread_text(last.train)),
        ("gap", score(last.gap.mean), spread_text(last.gap)),
    ]
    if law is not None:
        sign = 1 if record.mode == "max" else -1
        low, high = sorted((sign * law.gain_low, sign * law.gain_high))
        values.append(("twice the rows", f"{sign * law.gain:+.4f}", f"{low:+.4f} to {high:+.4f}"))
    values.append(("trainings", str(len(record.measured)), f"{len(points)} sizes"))
    return tile_row(values)


def _plot(record: CurveRecord, points: tuple[Point, ...], law: PowerLaw | None) -> str:
    sentences = "".join(f"<p>{esc(text)}</p>" for text in reading(points, law, record.metric, record.mode))
    place = chart("curve", f"{record.metric} with 95 % intervals ({METHOD}); every training is a dot", wide=True)
    return f'<section><h2>What the rows are worth</h2>{sentences}<div class="charts">{place}</div></section>'


def _others(figures: dict[str, Figure]) -> str:
    places = "".join(chart(name, name) for name in figures if name != "curve")
    return f'<section><h2>Other scores</h2><div class="charts">{places}</div></section>' if places else ""


def _table(points: tuple[Point, ...]) -> str:
    rows = [tuple(map(esc, row_text(point))) for point in points]
    return f"<section><h2>Sizes</h2>{table(HEADS, rows, classes=('num',) * len(HEADS))}</section>"
