"""Variants as the newest comparison found them: a package that was compressed again keeps what each was made with."""

from collections.abc import Sequence

from training.package.manifest import BASELINE, Comparison, Variant


def as_compared(variants: Sequence[Variant], comparison: Comparison | None) -> tuple[Variant, ...]:
    """The same with the verdict, the loss, the score and the note of a comparison; those it did not measure stay."""
    if comparison is None or not comparison.metric:  # of an earlier writer, whose comparisons had no more than costs
        return tuple(variants)
    return tuple(
        _as_compared(variant, comparison) if variant.name in comparison.costs else variant for variant in variants
    )


def _as_compared(variant: Variant, comparison: Comparison) -> Variant:
    name = variant.name
    scores = {comparison.metric: comparison.scores[name]} if name in comparison.scores else {}
    return variant.model_copy(update={
        "metrics": variant.metrics | scores,
        "quality": comparison.qualities.get(name, variant.quality),
        "offered": name in comparison.passed or name == BASELINE,
        "note": comparison.notes.get(name, variant.note),
    })  # fmt: skip
