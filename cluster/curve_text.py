"""A learning curve as text and as JSON."""

from typing import Any

from cluster.console import table_lines
from training.curve_record import CurveRecord
from training.evaluation.curve import METHOD, points_of
from training.evaluation.curve_words import HEADS, reading, row_text
from training.evaluation.power_law import fit_power_law


def curve_text(record: CurveRecord) -> str:
    """A table of the sizes, and what they say."""
    points = points_of(record.measured, record.metric)
    rows = [list(HEADS), *(list(row_text(point)) for point in points)]
    law = fit_power_law(points, record.mode)
    head = (
        f"{record.name}: {record.metric} by training rows, on the same {record.num_validation_rows:,} validation rows; "
        f"intervals: {METHOD}"
    )
    sentences = reading(points, law, record.metric, record.mode)
    return "\n".join([head, *table_lines(rows), "", *sentences])


def curve_json(record: CurveRecord) -> dict[str, Any]:
    """The record, the points of it, the fitted law, and the sentences."""
    points = points_of(record.measured, record.metric)
    law = fit_power_law(points, record.mode)
    return record.model_dump(mode="json") | {
        "interval": METHOD,
        "points": [point.model_dump(mode="json") for point in points],
        "power_law": law.model_dump(mode="json") if law is not None else None,
        "reading": list(reading(points, law, record.metric, record.mode)),
    }
