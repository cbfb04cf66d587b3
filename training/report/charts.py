"""Charts as plotly figures: plain dicts. A colour such as "@accent" is looked up in the page's style when drawn."""

from training.report.shell import Figure
from training.report.shell import figure as _figure
from training.run_record import RunRecord


def variants(record: RunRecord) -> Figure:
    """Median latency of each variant at one row and at 32."""
    names = [variant.name for variant in record.variants]
    traces = [
        {
            "type": "bar", "name": "1 row" if batch_size == "1" else f"{batch_size} rows", "orientation": "h",
            "y": names, "x": [variant.latency[batch_size].p50_ms for variant in record.variants],
            "text": [f"{variant.latency[batch_size].p50_ms:.3g}" for variant in record.variants],
            "textposition": "auto", "textangle": 0, "marker": {"color": colour},
            "hovertemplate": "%{y}, %{x:.4f} ms<extra></extra>",
        }
        for batch_size, colour in (("1", "@accent"), ("32", "@second"))
        if all(batch_size in variant.latency for variant in record.variants)
    ]  # fmt: skip
    figure = _figure(traces, "median latency, ms", "")
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    figure["layout"]["height"] = 130 + 60 * len(names)
    return figure
