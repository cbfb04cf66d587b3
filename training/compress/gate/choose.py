"""Which form to serve: decided from what was measured, touching nothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from training.compress.gate.candidate import MANY_ROWS, NOISE_FRACTION, SMALLER, Candidate, apart, beats, ratio, value
from training.compress.gate.goodness import ROUNDING
from training.compress.gate.quality import CLASS
from training.compress.gate.words import allowed, both, lost_words, own_value, size, speed, speed_of, values, why_chosen
from training.compress_config import CompressConfig
from training.package.manifest import Quality, SliceDrop


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
    notes[baseline.name] = "the model as trained, against which the others are held"
    front = pareto_front([baseline, *offered])
    reason = (
        why_chosen(baseline, chosen, config)
        if winners
        else _why_baseline(baseline, others, offered, compared or offered, refusals, config)
    )
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
        return f"{name} neither faster nor smaller ({speed(baseline, other)}, {size(baseline, other)})"
    return ""


def loss(other: Candidate, config: CompressConfig) -> str:
    """In which way a form is worse than allowed; empty where it is not."""
    quality = other.variant.quality
    assert quality is not None, "every form but the baseline is judged"
    if not quality.drop <= config.max_drop + ROUNDING:  # a NaN is refused too
        return f"{lost_words(quality)}, and {allowed(quality.metric, config.max_drop)}"
    if bad := sacrificed(quality):
        which = bad.value if bad.column == CLASS else f"{bad.column}={bad.value}"
        return (
            f"{which} loses {bad.drop:.3g} of its {bad.num_rows:,} rows, and {config.slice_drop:g} is allowed (p "
            f"{bad.p_value:.1g}), though {quality.metric} is kept on the whole"
        )
    return ""


def sacrificed(quality: Quality) -> SliceDrop | None:
    """The slice that lost most, of those that lost more than they may."""
    return max((each for each in quality.slices if each.sacrificed), key=lambda each: each.drop, default=None)


def reluctance(baseline: Candidate, other: Candidate, config: CompressConfig) -> str:
    """Why a form that is offered is not chosen over the baseline; empty where it may be."""
    if not beats(other, baseline, config):
        is_better = value(other, config) < value(baseline, config)
        return f"{'not better by more than noise' if is_better else 'no better'}: {values(baseline, other, config)}"
    if config.objective == "size":
        return ""
    if ratio(baseline, other, MANY_ROWS) > 1 + NOISE_FRACTION:
        return f"better, but 32 rows take it longer: {speed_of(baseline, other, MANY_ROWS)}"
    return ""


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


def _best(winners: Sequence[Candidate], config: CompressConfig) -> Candidate:
    equal = [each for each in winners if not any(beats(other, each, config) for other in winners)] or winners
    return min(equal, key=lambda each: (_positive_drop(each), each.variant.size_bytes, value(each, config), each.name))


def _positive_drop(candidate: Candidate) -> float:
    quality = candidate.variant.quality
    return max(0.0, quality.drop) if quality else 0.0


def _is_faster(baseline: Candidate, other: Candidate, config: CompressConfig) -> bool:
    keys = {"1", MANY_ROWS, str(config.batch_size)}
    return any(
        ratio(baseline, other, key) < 1 - NOISE_FRACTION
        and apart(other.cost.latency[key].p50_range_ms, baseline.cost.latency[key].p50_range_ms)
        for key in keys
    )


def _is_smaller(baseline: Candidate, other: Candidate) -> bool:
    return other.variant.size_bytes < SMALLER * baseline.variant.size_bytes


def _note(baseline: Candidate, other: Candidate, config: CompressConfig, *, is_near: bool) -> str:
    quality = other.variant.quality
    assert quality is not None
    why_not = reluctance(baseline, other, config) if is_near else f"others are far better: {own_value(other, config)}"
    said = why_not or both(baseline, other, config)
    return f"{said}; {lost_words(quality)}"


def _why_baseline(
    baseline: Candidate, others: Sequence[Candidate], offered: Sequence[Candidate], compared: Sequence[Candidate],
    refusals: Mapping[str, str], config: CompressConfig,
) -> str:  # fmt: skip
    if not others:
        return f"{baseline.name} is the only form that was made"
    if len(others) == 1:
        return refusals[others[0].name] or f"{others[0].name} is {reluctance(baseline, others[0], config)}"
    num_lossy = sum(bool(other.is_compressed and loss(other, config)) for other in others)
    parts = [
        f"{num_lossy} lose{'s' if num_lossy == 1 else ''} more than is allowed" if num_lossy else "",
        _nearest(baseline, compared, config),
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
