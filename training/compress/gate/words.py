"""What is said of a form, and of a choice."""

from training.compress.gate.candidate import MANY_ROWS, SMALLER, Candidate, value
from training.compress_config import CompressConfig
from training.metric_names import METRIC_MODES
from training.package.manifest import Quality

OBJECTIVES = {
    "latency_p99": "p99 of a call", "latency_p50": "median of a call", "size": "bytes", "cost": "USD per million"
}  # fmt: skip


def lost_words(quality: Quality) -> str:
    """What was lost or won, with its interval: of scores of which less is better, shares of the baseline's."""
    is_share = _is_share(quality.metric)
    sign = -1 if quality.drop < 0 else 1
    low, high = sorted((sign * quality.low, sign * quality.high))
    interval = f"(95 % {_amount(low, is_share=is_share)} to {_amount(high, is_share=is_share)})"
    if quality.drop == 0:
        return f"{quality.metric} stays {interval}"
    word = ("worsens" if is_share else "drops") if quality.drop > 0 else ("improves" if is_share else "rises")
    return f"{quality.metric} {word} by {_amount(abs(quality.drop), is_share=is_share)} {interval}"


def allowed(metric: str, drop: float) -> str:
    """What may be lost of a score."""
    return f"{_amount(drop, is_share=_is_share(metric))} is allowed"


def _is_share(metric: str) -> bool:
    return METRIC_MODES.get(metric.rpartition("/")[2], "max") == "min"


def _amount(drop: float, *, is_share: bool) -> str:
    return f"{100 * drop:.2g} %" if is_share else f"{drop:.2g}"


def both(baseline: Candidate, other: Candidate, config: CompressConfig) -> str:
    """What the objective measures, and how large the file is."""
    measured = values(baseline, other, config)
    return measured if config.objective == "size" else f"{measured}, {size(baseline, other)}"


def why_chosen(baseline: Candidate, chosen: Candidate, config: CompressConfig) -> str:
    """The reason for a form, in one sentence."""
    quality = chosen.variant.quality
    assert quality is not None
    return (
        f"of the forms that keep {quality.metric} it has the least {OBJECTIVES[config.objective]}: "
        f"{both(baseline, chosen, config)}; {lost_words(quality)}, "
        f"{allowed(quality.metric, config.max_drop)}"
    )


def values(baseline: Candidate, other: Candidate, config: CompressConfig) -> str:
    """What the objective measures, of a form and of the baseline."""
    if config.objective == "size":
        return size(baseline, other)
    unit = "USD per million" if config.objective == "cost" else "ms"
    return f"{own_value(other, config)} against {value(baseline, config):.3g} {unit} of {baseline.name}"


def own_value(candidate: Candidate, config: CompressConfig) -> str:
    """The objective's value of one form."""
    found = f"{value(candidate, config):.3g}"
    if config.objective in ("size", "cost"):
        return f"{found} {'bytes' if config.objective == 'size' else 'USD per million'}"
    rows = "one row" if config.batch_size == 1 else f"{config.batch_size} rows"
    return f"{rows} in {found} ms ({'p99' if config.objective == 'latency_p99' else 'median'})"


def speed(baseline: Candidate, other: Candidate) -> str:
    """Medians of one row and of many, beside the baseline's."""
    return f"one row in {speed_of(baseline, other, '1')}, 32 rows in {speed_of(baseline, other, MANY_ROWS)}"


def speed_of(baseline: Candidate, other: Candidate, batch_size: str) -> str:
    """The median of a call, beside the baseline's."""
    after, before = other.cost.latency[batch_size].p50_ms, baseline.cost.latency[batch_size].p50_ms
    return f"{after:.3g} ms against {before:.3g} ms"


def size(baseline: Candidate, other: Candidate) -> str:
    """Bytes, in those of the baseline."""
    ratio = baseline.variant.size_bytes / other.variant.size_bytes
    if 1 / SMALLER > ratio > SMALLER:
        return "as large"
    return f"{ratio:.1f}x smaller" if ratio > 1 else f"{1 / ratio:.1f}x larger"
