"""What is said of a form, and of a choice."""

import math

from training.compress.gate.candidate import MANY_ROWS, SMALLER, Candidate, value
from training.compress_config import CompressConfig
from training.package.manifest import Quality

OBJECTIVES = {
    "latency_p99": "p99 of a call", "latency_p50": "median of a call", "size": "bytes", "cost": "USD per million"
}  # fmt: skip


def lost_words(quality: Quality) -> str:
    """What was lost, with its interval."""
    interval = f"95 % {quality.low:.4g} to {quality.high:.4g}" if math.isfinite(quality.low) else "no interval"
    return f"{quality.metric} drops by {quality.drop:.4g}, {interval}"


def why_chosen(baseline: Candidate, chosen: Candidate, config: CompressConfig) -> str:
    """The reason for a form, in one sentence."""
    quality = chosen.variant.quality
    assert quality is not None
    return (
        f"of the forms that keep {quality.metric} it has the least {OBJECTIVES[config.objective]}: "
        f"{values(baseline, chosen, config)}, {size(baseline, chosen)}; {lost_words(quality)} "
        f"({config.max_drop:g} is allowed)"
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
