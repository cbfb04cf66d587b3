"""Which variant to serve: decided from what was measured, touching nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.package.manifest import Variant

NOISE_FRACTION = 0.05  # medians of one variant measured twice differ by less than this


@dataclass(frozen=True)
class Decision:
    """The choice, the numbers behind it, and the variants with their notes filled in."""

    chosen: str
    reason: str
    variants: tuple[Variant, ...]


def choose(variants: Sequence[Variant], metric: str, mode: Literal["max", "min"], max_drop: float) -> Decision:
    """Take the fastest variant that keeps the score; the first of `variants` is the baseline and wins a tie.

    A variant is offered when its weights are really quantized and its score is kept. It is chosen when it also
    answers one row faster than the baseline, by more than noise, and 32 rows no slower.

    Args:
        variants: measured; the baseline first.
        metric: key of `Variant.metrics` that decides.
        mode: whether a higher or a lower score is better.
        max_drop: loss allowed; absolute where higher is better, relative to the baseline for errors.
    """
    baseline, others = variants[0], variants[1:]
    verdicts = [_judge(baseline, other, metric, mode, max_drop) for other in others]
    judged = [
        other.model_copy(update={"offered": verdict.keeps_score, "note": verdict.note})
        for other, verdict in zip(others, verdicts, strict=True)
    ]
    winners = [other for other, verdict in zip(judged, verdicts, strict=True) if verdict.keeps_score and verdict.faster]
    winner = min(winners, key=_one_row_ms, default=baseline)
    reason = winner.note if winners else _why_baseline(baseline, judged)
    noted = baseline.model_copy(update={"offered": True, "note": "the model as trained, which the others must beat"})
    return Decision(chosen=winner.name, reason=reason, variants=(noted, *judged))


@dataclass(frozen=True)
class _Verdict:
    keeps_score: bool
    faster: bool
    note: str


def _judge(baseline: Variant, other: Variant, metric: str, mode: str, max_drop: float) -> _Verdict:
    if other.weights_quantized_fraction == 0:
        note = f"{other.name} is not offered: no weight is stored in 8 bits, as no layer is large enough"
        return _Verdict(keeps_score=False, faster=False, note=note)
    before, after = baseline.metrics[metric], other.metrics[metric]
    drop = _drop(before, after, mode)
    change = f"{metric} {_number(after)}, {baseline.name} {_number(before)}"
    allowed = f"{max_drop:g}" if mode == "max" else f"{max_drop:.3g} of it"
    if not drop <= max_drop:  # a NaN is refused too
        note = f"{other.name} is not offered: it loses more than the {allowed} allowed ({change})"
        return _Verdict(keeps_score=False, faster=False, note=note)
    timing = f"one row in {_speed(baseline, other, '1')}, 32 rows in {_speed(baseline, other, '32')}"
    kept = f"{change}, and a loss of {allowed} is allowed"
    if _ratio(baseline, other, "1") > 1 - NOISE_FRACTION:
        return _Verdict(keeps_score=True, faster=False, note=f"{other.name} is not faster: {timing} ({change})")
    if _ratio(baseline, other, "32") > 1 + NOISE_FRACTION:
        note = f"{other.name} is faster for one row but slower for 32: {timing} ({change})"
        return _Verdict(keeps_score=True, faster=False, note=note)
    return _Verdict(keeps_score=True, faster=True, note=f"{other.name} is faster and keeps the score: {timing}; {kept}")


def _drop(before: float, after: float, mode: str) -> float:
    """The loss: in the score's own unit where higher is better, as a share of the baseline's error else."""
    if mode == "max":
        return before - after
    worse = after - before
    return worse / before if before > 0 else math.inf if worse > 0 else worse


def _why_baseline(baseline: Variant, others: Sequence[Variant]) -> str:
    if not others:
        return f"{baseline.name} is the only variant that was made"
    return "; ".join(other.note for other in others)


def _one_row_ms(variant: Variant) -> float:
    return variant.latency["1"].p50_ms


def _ratio(baseline: Variant, other: Variant, batch_size: str) -> float:
    return other.latency[batch_size].p50_ms / baseline.latency[batch_size].p50_ms


def _speed(baseline: Variant, other: Variant, batch_size: str) -> str:
    after, before = other.latency[batch_size].p50_ms, baseline.latency[batch_size].p50_ms
    return f"{after:.3g} ms against {before:.3g} ms"


def _number(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 10 else f"{score:.5g}"
