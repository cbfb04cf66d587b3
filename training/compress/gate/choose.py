"""Which form to serve: decided from what was measured, touching nothing."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from training.compress_config import CompressConfig
from training.package.manifest import Cost, Latency, Quality, SliceDrop, Variant

NOISE_FRACTION = 0.05  # medians of one form measured twice differ by less than this
SMALLER = 0.95  # of the baseline's bytes; what is larger than this is not smaller
MANY_ROWS = "32"
OBJECTIVES = {
    "latency_p99": "p99 of a call", "latency_p50": "median of a call", "size": "bytes", "cost": "USD per million"
}  # fmt: skip


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


@dataclass(frozen=True)
class Decision:
    """The choice, the reason in one sentence, and what was said of each form."""

    chosen: str
    reason: str
    passed: tuple[str, ...]  # keep the quality, and are faster or smaller
    front: tuple[str, ...]
    notes: dict[str, str]
    ranking: tuple[str, ...]  # the chosen one, others that beat the baseline, the baseline


def choose(
    candidates: Sequence[Candidate], config: CompressConfig, side_by_side: Collection[str] | None = None
) -> Decision:
    """Take the form that the objective likes best among those that keep the quality; the first is the baseline.

    A form is offered when its weights really are fewer or smaller, it keeps the score, no slice is sacrificed, and it
    is faster or smaller. It is chosen when it also beats the baseline by more than noise, and 32 rows take it no
    longer. Of forms that noise alone tells apart the one that loses least is taken, then the smallest.

    Args:
        candidates: measured; the baseline first.
        config: what may be lost, and what is to be small.
        side_by_side: those that were measured last, together with the baseline, because they were near the best
            before; only they can be chosen. None: all were measured together.
    """
    baseline, others = candidates[0], candidates[1:]
    refusals = {other.name: refusal(baseline, other, config) for other in others}
    offered = [other for other in others if not refusals[other.name]]
    compared = [other for other in offered if side_by_side is None or other.name in side_by_side]
    winners = [other for other in compared if not reluctance(baseline, other, config)]
    chosen = _best(winners, config) if winners else baseline
    notes = {
        other.name: refusals[other.name] or _note(baseline, other, config, is_near=other in compared)
        for other in others
    }
    notes[baseline.name] = "the model as trained, which the others must beat"
    front = pareto_front([baseline, *offered])
    reason = _why(baseline, chosen, config) if winners else _why_baseline(baseline, others, offered, refusals, config)
    by_value = sorted(winners, key=lambda each: value(each, config))
    ranking = dict.fromkeys([chosen.name, *(each.name for each in by_value), baseline.name])
    passed = tuple(each.name for each in (baseline, *offered))
    return Decision(chosen.name, reason, passed, front, notes, tuple(ranking))


def refusal(baseline: Candidate, other: Candidate, config: CompressConfig) -> str:
    """Why a form is not offered; empty where it is."""
    name = f"{other.name} is not offered:"
    if not other.is_compressed and other.variant.runtime == baseline.variant.runtime:
        return f"{name} no weight is stored in fewer bits, as no layer is large enough"
    if lost := loss(other, config):
        return f"{name} {lost}"
    if not (_is_faster(baseline, other, config) or _is_smaller(baseline, other)):
        return f"{name} it is neither faster nor smaller ({_speed(baseline, other)}, {_size(baseline, other)})"
    return ""


def loss(other: Candidate, config: CompressConfig) -> str:
    """In which way a form is worse than allowed; empty where it is not."""
    quality = other.variant.quality
    assert quality is not None, "every form but the baseline is judged"
    if not quality.drop <= config.max_drop:  # a NaN is refused too
        return f"it loses more than the {config.max_drop:g} allowed ({lost_words(quality)})"
    if bad := sacrificed(quality):
        return (
            f"it keeps {quality.metric} on the whole and loses {bad.drop:.3g} of {bad.num_rows:,} rows with "
            f"{bad.column} {bad.value} (p {bad.p_value:.1g}; {config.slice_drop:g} is allowed)"
        )
    return ""


def sacrificed(quality: Quality) -> SliceDrop | None:
    """The slice that lost most, of those that lost more than they may."""
    return max((each for each in quality.slices if each.sacrificed), key=lambda each: each.drop, default=None)


def reluctance(baseline: Candidate, other: Candidate, config: CompressConfig) -> str:
    """Why a form that is offered is not chosen over the baseline; empty where it may be."""
    if not beats(other, baseline, config):
        is_better = value(other, config) < value(baseline, config)
        return f"{'not better by more than noise' if is_better else 'no better'}: {_values(baseline, other, config)}"
    if config.objective == "size":
        return ""
    if _ratio(baseline, other, MANY_ROWS) > 1 + NOISE_FRACTION:
        return f"better, but 32 rows take it longer: {_speed_of(baseline, other, MANY_ROWS)}"
    return ""


def beats(one: Candidate, other: Candidate, config: CompressConfig) -> bool:
    """Whether one is better than the other by more than noise, in what the objective measures."""
    ours, theirs = value(one, config), value(other, config)
    if config.objective == "size":
        return ours < SMALLER * theirs
    if not ours < (1 - NOISE_FRACTION) * theirs:
        return False
    key = str(config.batch_size) if config.objective != "cost" else MANY_ROWS
    mine, its = one.cost.latency[key], other.cost.latency[key]
    # A p99 of a noisy machine may not be told apart where the medians clearly are, in the same direction.
    return _apart(mine.p50_range_ms, its.p50_range_ms) or (
        config.objective == "latency_p99" and _apart(mine.p99_range_ms, its.p99_range_ms)
    )


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


def pareto_front(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Forms that no other beats in median latency of one row, bytes and quality at once."""

    def point(candidate: Candidate) -> tuple[float, float, float]:
        quality = candidate.variant.quality
        return (
            candidate.cost.latency["1"].p50_ms, float(candidate.variant.size_bytes), quality.drop if quality else 0.0
        )  # fmt: skip

    points = {candidate.name: point(candidate) for candidate in candidates}
    return tuple(
        name
        for name, mine in points.items()
        if not any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in points.values())
    )


def lost_words(quality: Quality) -> str:
    """What was lost, with its interval."""
    interval = f"95 % {quality.low:.4g} to {quality.high:.4g}" if math.isfinite(quality.low) else "no interval"
    return f"{quality.metric} drops by {quality.drop:.4g}, {interval}"


def _best(winners: Sequence[Candidate], config: CompressConfig) -> Candidate:
    best = min(winners, key=lambda each: value(each, config))
    equal = [each for each in winners if not beats(best, each, config)]
    return min(equal, key=lambda each: (_positive_drop(each), each.variant.size_bytes, value(each, config)))


def _positive_drop(candidate: Candidate) -> float:
    quality = candidate.variant.quality
    return max(0.0, quality.drop) if quality else 0.0


def _is_faster(baseline: Candidate, other: Candidate, config: CompressConfig) -> bool:
    keys = {"1", MANY_ROWS, str(config.batch_size)}
    return any(
        _ratio(baseline, other, key) < 1 - NOISE_FRACTION
        and _apart(other.cost.latency[key].p50_range_ms, baseline.cost.latency[key].p50_range_ms)
        for key in keys
    )


def _is_smaller(baseline: Candidate, other: Candidate) -> bool:
    return other.variant.size_bytes < SMALLER * baseline.variant.size_bytes


def _apart(lower: tuple[float, float] | None, upper: tuple[float, float] | None) -> bool:
    """Whether two ranges do not touch, the first below; unknown ones count as apart."""
    return lower is None or upper is None or lower[1] < upper[0]


def _ratio(baseline: Candidate, other: Candidate, batch_size: str) -> float:
    return other.cost.latency[batch_size].p50_ms / baseline.cost.latency[batch_size].p50_ms


def _note(baseline: Candidate, other: Candidate, config: CompressConfig, *, is_near: bool) -> str:
    quality = other.variant.quality
    assert quality is not None
    why_not = reluctance(baseline, other, config) if is_near else f"others are far better: {_own(other, config)}"
    said = why_not or f"{_values(baseline, other, config)}, {_size(baseline, other)}"
    return f"{said}; {lost_words(quality)}"


def _why(baseline: Candidate, chosen: Candidate, config: CompressConfig) -> str:
    quality = chosen.variant.quality
    assert quality is not None
    return (
        f"of the forms that keep {quality.metric} it has the least {OBJECTIVES[config.objective]}: "
        f"{_values(baseline, chosen, config)}, {_size(baseline, chosen)}; {lost_words(quality)} "
        f"({config.max_drop:g} is allowed)"
    )


def _why_baseline(
    baseline: Candidate, others: Sequence[Candidate], offered: Sequence[Candidate], refusals: Mapping[str, str],
    config: CompressConfig,
) -> str:  # fmt: skip
    if not others:
        return f"{baseline.name} is the only form that was made"
    if len(others) == 1:
        return refusals[others[0].name] or f"{others[0].name} is {reluctance(baseline, others[0], config)}"
    num_lossy = sum(bool(other.is_compressed and loss(other, config)) for other in others)
    parts = [
        f"{num_lossy} lose{'s' if num_lossy == 1 else ''} more than is allowed" if num_lossy else "",
        _nearest(baseline, offered, config),
        _others_refused(len(others) - num_lossy - len(offered)),
    ]
    return f"none of {len(others)} other forms beats {baseline.name}: {'; '.join(part for part in parts if part)}"


def _nearest(baseline: Candidate, offered: Sequence[Candidate], config: CompressConfig) -> str:
    if not offered:
        return ""
    nearest = min(offered, key=lambda each: value(each, config))
    return f"the best that keeps the score, {nearest.name}, is {reluctance(baseline, nearest, config)}"


def _others_refused(num: int) -> str:
    return f"{num} {'is' if num == 1 else 'are'} neither faster nor smaller" if num else ""


def _values(baseline: Candidate, other: Candidate, config: CompressConfig) -> str:
    if config.objective == "size":
        return _size(baseline, other)
    unit = "USD per million" if config.objective == "cost" else "ms"
    return f"{_own(other, config)} against {value(baseline, config):.3g} {unit} of {baseline.name}"


def _own(candidate: Candidate, config: CompressConfig) -> str:
    """The objective's value of one form."""
    found = f"{value(candidate, config):.3g}"
    if config.objective in ("size", "cost"):
        return f"{found} {'bytes' if config.objective == 'size' else 'USD per million'}"
    rows = "one row" if config.batch_size == 1 else f"{config.batch_size} rows"
    return f"{rows} in {found} ms ({'p99' if config.objective == 'latency_p99' else 'median'})"


def _speed(baseline: Candidate, other: Candidate) -> str:
    return f"one row in {_speed_of(baseline, other, '1')}, 32 rows in {_speed_of(baseline, other, MANY_ROWS)}"


def _speed_of(baseline: Candidate, other: Candidate, batch_size: str) -> str:
    after, before = other.cost.latency[batch_size].p50_ms, baseline.cost.latency[batch_size].p50_ms
    return f"{after:.3g} ms against {before:.3g} ms"


def _size(baseline: Candidate, other: Candidate) -> str:
    ratio = baseline.variant.size_bytes / other.variant.size_bytes
    if 1 / SMALLER > ratio > SMALLER:
        return "as large"
    return f"{ratio:.1f}x smaller" if ratio > 1 else f"{1 / ratio:.1f}x larger"
