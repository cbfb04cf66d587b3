"""One form and what was measured of it, held against another. Pure."""

import math
from dataclasses import dataclass

from training.compress_config import CompressConfig
from training.package.manifest import Cost, Latency, Variant

NOISE_FRACTION = 0.05  # medians of one form measured twice differ by less than this
SMALLER = 0.95  # of the baseline's bytes; what is larger than this is not smaller
MANY_ROWS = "32"


@dataclass(frozen=True)
class Candidate:
    """One form and what was measured of it."""

    variant: Variant
    cost: Cost

    @property
    def name(self) -> str:
        """Of the form."""
        return self.variant.name

    @property
    def is_compressed(self) -> bool:
        """Whether its weights really are fewer or smaller."""
        return self.variant.weights_quantized_fraction > 0 or self.variant.weights_removed_fraction > 0


def beats(one: Candidate, other: Candidate, config: CompressConfig) -> bool:
    """Whether one is better than the other by more than noise, in what the objective measures.

    Of two p99s that their ranges do not tell apart nothing can be said, and the medians decide.
    """
    if config.objective == "size":
        return value(one, config) < SMALLER * value(other, config)
    key = str(config.batch_size) if config.objective != "cost" else MANY_ROWS
    mine, its = one.cost.latency[key], other.cost.latency[key]
    if config.objective == "latency_p99" and (
        apart(mine.p99_range_ms, its.p99_range_ms) or apart(its.p99_range_ms, mine.p99_range_ms)
    ):
        return mine.p99_ms < (1 - NOISE_FRACTION) * its.p99_ms
    if not apart(mine.p50_range_ms, its.p50_range_ms):
        return False
    if config.objective == "cost":
        return value(one, config) < (1 - NOISE_FRACTION) * value(other, config)
    return mine.p50_ms < (1 - NOISE_FRACTION) * its.p50_ms


def value(candidate: Candidate, config: CompressConfig) -> float:
    """What the objective makes small."""
    found: Latency = candidate.cost.latency[str(config.batch_size)]
    match config.objective:
        case "latency_p99":
            return found.p99_ms
        case "latency_p50":
            return found.p50_ms
        case "size":
            return float(candidate.variant.size_bytes)
    usd = candidate.cost.usd_per_million
    return math.inf if usd is None else usd


def ratio(baseline: Candidate, other: Candidate, batch_size: str) -> float:
    """Median time of a call, in those of the baseline."""
    return other.cost.latency[batch_size].p50_ms / baseline.cost.latency[batch_size].p50_ms


def apart(lower: tuple[float, float] | None, upper: tuple[float, float] | None) -> bool:
    """Whether two ranges do not touch, the first below; unknown ones count as apart."""
    return lower is None or upper is None or lower[1] < upper[0]
