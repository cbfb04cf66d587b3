"""The compressed forms of a run or a package side by side, for whoever shows them: the report and the terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from training.metric_names import METRIC_MODES, Mode
from training.package.card_text import ROUNDING, digits
from training.package.compared import as_compared
from training.package.manifest import Comparison, Latency, Manifest, Variant, score_of
from training.run_record import RunRecord

Standing = Literal["chosen", "front", "kept", "refused", "elsewhere"]
WORDS: Mapping[Standing, str] = {
    "chosen": "chosen", "front": "on the front", "kept": "offered", "refused": "not offered",
    "elsewhere": "not measured here",
}  # fmt: skip
OLD_OBJECTIVE = "latency_p50"  # by which runs chose that do not say by what


@dataclass(frozen=True)
class Form:
    """A variant, with what it takes on the machine of the comparison."""

    variant: Variant
    standing: Standing
    note: str  # why it is offered or not
    latency: Mapping[str, Latency]  # by batch size
    memory_mb: float | None
    usd_per_million: float | None
    drop: float | None  # of the score, positive is worse; None where it is not known or no number
    low: float | None  # its 95 % interval
    high: float | None
    judged_by: str  # the score that the loss is of, which need not be the one that decided over the model

    @property
    def name(self) -> str:
        """The variant's."""
        return self.variant.name


@dataclass(frozen=True)
class Objective:
    """What was made small."""

    name: str  # latency_p99, latency_p50, size or cost
    batch_size: int

    @property
    def title(self) -> str:
        """As a column or an axis is headed, without the unit."""
        rows = "1 row" if self.batch_size == 1 else f"{self.batch_size} rows"
        return {
            "size": "size", "cost": "USD per million", "latency_p50": f"p50 of {rows}",
        }.get(self.name, f"p99 of {rows}")  # fmt: skip

    @property
    def is_latency(self) -> bool:
        """Whether it is a time."""
        return self.name not in ("size", "cost")

    def latency(self, form: Form) -> tuple[float, tuple[float, float] | None] | None:
        """The time that decides with its range, milliseconds; None where it was not taken."""
        found = form.latency.get(str(self.batch_size))
        if found is None:
            return None
        is_median = self.name == "latency_p50"
        return (found.p50_ms, found.p50_range_ms) if is_median else (found.p99_ms, found.p99_range_ms)

    def of(self, form: Form) -> float | None:
        """Its value in ms, bytes or USD; None where it is not known."""
        if self.name == "size":
            return form.variant.size_bytes
        if self.name == "cost":
            return form.usd_per_million
        timed = self.latency(form)
        return timed[0] if timed else None


@dataclass(frozen=True)
class SideBySide:
    """All forms of a run or a package, and by what one of them was chosen."""

    forms: tuple[Form, ...]  # as they were made, the baseline first
    baseline: str
    chosen: str
    reason: str
    metric: str
    mode: Mode
    objective: Objective
    comparison: Comparison | None
    max_drop: float | None = None
    slice_drop: float | None = None
    not_made: Mapping[str, str] = field(default_factory=dict)  # form to reason
    # Students tried: share, settings, num_weights, validation_score; failed says why one has no score.
    distilled: Sequence[Mapping[str, Any]] = ()

    @property
    def judged_by(self) -> str:
        """The score that the losses are of, as of the form that was judged last."""
        return next((form.judged_by for form in reversed(self.forms) if form.variant.quality), self.metric)

    @property
    def alike(self) -> tuple[Form, ...]:
        """Forms whose losses can stand on one axis: those of the same score, and the baseline, which lost nothing."""
        wanted = _plain(self.judged_by)
        return tuple(form for form in self.forms if form.name == self.baseline or _plain(form.judged_by) == wanted)

    def is_share(self, metric: str = "") -> bool:
        """Whether a loss of this score, or of `judged_by`, is a share of the baseline's error."""
        wanted = _plain(metric or self.judged_by)
        mode = self.mode if wanted == _plain(self.metric) else METRIC_MODES.get(wanted, self.mode)
        return mode == "min"

    @property
    def lost(self) -> str:
        """What a worse score does."""
        return lost_word(is_error=self.is_share())

    @property
    def allowed(self) -> str:
        """The loss of the score that is allowed; empty where the run does not say."""
        return "" if self.max_drop is None else allowed_text(self.max_drop, is_share=self.is_share())

    @property
    def baseline_bytes(self) -> int | None:
        """Size of the model as trained."""
        return next((form.variant.size_bytes for form in self.forms if form.name == self.baseline), None)

    def drop_text(self, drop: float | None, metric: str = "") -> str:
        """A loss of this score, or of `judged_by`: in its unit where higher is better, in percent of the error else."""
        return drop_text(drop, is_share=self.is_share(metric))

    def of_other(self, form: Form) -> str:
        """Which score a form's loss is of, where that is not `judged_by`; empty else."""
        return "" if form.judged_by == self.judged_by or form.drop is None else f" of {form.judged_by}"

    def score_text(self, form: Form) -> str:
        """A form's score, with its name where it is of other rows than the rest."""
        name, value = score_of(form.variant, self.metric) or (self.metric, None)
        told = digits(value) if value is not None and math.isfinite(value) else "–"
        return told if name == self.metric else f"{told} ({name})"


def lost_word(*, is_error: bool) -> str:
    """What a worse score does: an error rises."""
    return "rise" if is_error else "drop"


def drop_text(drop: float | None, *, is_share: bool) -> str:
    """A loss, positive is worse. Args: is_share: whether it is a share of the baseline's error."""
    if drop is None or not math.isfinite(drop):
        return "–"
    if abs(drop) < ROUNDING:
        return "0.00%" if is_share else "0.0000"
    return f"{100 * drop:+{'.2f' if abs(drop) >= 0.001 else '.3g'}}%" if is_share else digits(drop, "+")


def price_text(usd: float) -> str:
    """US dollars with three digits that count: a million predictions of a small model take less than a cent."""
    if usd >= 1 or usd <= 0:
        return f"${usd:,.2f}"
    whole, _, cents = f"{usd:.{2 - math.floor(math.log10(usd))}f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def _plain(metric: str) -> str:
    """The score's name without the part that it is of."""
    return metric.rpartition("/")[2]


def allowed_text(drop: float, *, is_share: bool) -> str:
    """A loss as a person set it. Args: is_share: whether it is a share of the baseline's error."""
    return f"{100 * drop:g}%" if is_share else f"{drop:g}"


def side_by_side(record: RunRecord) -> SideBySide | None:
    """What a run compressed to; None before it did. Runs of earlier versions lack what was not measured then."""
    event, variants = record.last("compressed"), record.variants
    if not variants:
        return None
    metric = str(event["metric"])
    mode: Mode = event.get("mode") or METRIC_MODES.get(metric.rpartition("/")[2], "max")
    found = _compared(variants, record.comparison, event["chosen"], event["reason"], metric, mode)
    return replace(
        found, max_drop=event.get("max_drop"), slice_drop=event.get("slice_drop"),
        not_made=event.get("not_made") or {}, distilled=event.get("distilled") or (),
    )  # fmt: skip


def of_package(manifest: Manifest) -> SideBySide:
    """What a package holds, as it was compared last."""
    compared = manifest.comparisons[-1] if manifest.comparisons else None
    chosen, reason = (
        (compared.chosen, compared.reason) if compared else (manifest.chosen, manifest.chosen_reason)
    )  # fmt: skip
    found = _compared(manifest.variants, compared, chosen, reason, manifest.metric, manifest.metric_mode)
    return replace(found, not_made=manifest.not_made)


def _compared(
    variants: Sequence[Variant], comparison: Comparison | None, chosen: str, reason: str, metric: str, mode: Mode
) -> SideBySide:
    variants = as_compared(variants, comparison)
    if comparison is not None and comparison.metric:
        metric, mode = comparison.metric, METRIC_MODES.get(_plain(comparison.metric), mode)
    baseline = comparison.baseline if comparison else variants[0].name
    first = next((variant for variant in variants if variant.name == baseline), None)
    before = first.metrics.get(metric) if first else None
    drops = [_drop(variant, metric, mode, before) for variant in variants]
    forms = tuple(
        _form(variant, _standing(variant, chosen, comparison, baseline), drop, comparison, metric)
        for variant, drop in zip(variants, drops, strict=True)
    )
    return SideBySide(forms, baseline, chosen, reason, metric, mode, _objective(comparison, forms), comparison)


Drop = tuple[float | None, float | None, float | None]


def _form(variant: Variant, standing: Standing, drop: Drop, comparison: Comparison | None, metric: str) -> Form:
    said = (comparison.notes.get(variant.name) if comparison else None) or variant.note
    note = said.removeprefix(f"{variant.name} is not offered: ")  # its name and its standing are beside it
    cost = comparison.costs.get(variant.name) if comparison else None
    # Where forms were compared, what one of them took on another machine says nothing beside the others.
    latency = variant.latency if comparison is None else cost.latency if cost else {}
    memory_mb, usd = (cost.memory_mb, cost.usd_per_million) if cost else (None, None)
    judged_by = variant.quality.metric if variant.quality else metric
    return Form(variant, standing, note, latency, memory_mb, usd, *drop, judged_by)


def _standing(variant: Variant, chosen: str, comparison: Comparison | None, baseline: str) -> Standing:
    if variant.name == chosen:
        return "chosen"
    if comparison is None:
        return "kept" if variant.offered else "refused"
    if variant.name not in comparison.costs:
        return "elsewhere"
    if variant.name in comparison.front:
        return "front"
    is_right = variant.name in comparison.passed or variant.name == baseline
    return "kept" if is_right and variant.offered else "refused"


def _drop(variant: Variant, metric: str, mode: Mode, before: float | None) -> Drop:
    """The loss with its interval, as measured; where it was not, the difference of the scores without one."""
    if quality := variant.quality:
        return _known(quality.drop), _known(quality.low), _known(quality.high)
    after = variant.metrics.get(metric)
    if after is None or before is None:
        return None, None, None
    lost = before - after if mode == "max" else (after - before) / abs(before) if before else math.nan
    return _known(lost), None, None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _objective(comparison: Comparison | None, forms: Sequence[Form]) -> Objective:
    asked = (
        Objective(comparison.objective, comparison.batch_size) if comparison else Objective(OLD_OBJECTIVE, 1)
    )  # fmt: skip
    return asked if any(asked.of(form) is not None for form in forms) else Objective("size", 1)
