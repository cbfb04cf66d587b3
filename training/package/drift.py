"""How far data moved from a reference: a number a column, and what chance alone would give. Shape letters: B bins."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy.special import chdtri

from training.package.manifest import InputSpec
from training.package.reference import (
    CategorySketch,
    Measured,
    NumberSketch,
    Reference,
    Sketch,
    Values,
    by_frequency,
    measures,
)
from training.package.shapes import StoredModel

# Customary readings of the index: below 0.1 little, above 0.25 much (Siddiqi, Credit Risk Scorecards, 2006).
SOME, MUCH = 0.1, 0.25
NUM_NAMED = 5  # new categories spelled out


class Shift(StoredModel):
    """How one column, or one measure of it, moved."""

    input: str
    measure: str
    index: float  # population stability index, nats
    chance: float  # what the index stays below in 95 % of cases where nothing moved
    missing_before: float  # share of rows
    missing_now: float
    outside: float = 0.0  # share of known numbers beyond the training rows' smallest and largest
    new: float = 0.0  # share of categories that the model does not know
    new_categories: tuple[str, ...] = ()  # the most frequent of them; never of personal data

    @property
    def verdict(self) -> str:
        """`much`, `some`, or empty where chance alone or a customary bound explains it."""
        if self.index <= max(self.chance, SOME):
            return ""
        return "much" if self.index > MUCH else "some"


def population_stability_index(reference_B: np.ndarray, live_B: np.ndarray) -> float:
    """How far live counts lie from reference counts in the same bins, in nats; 0 is identical.

    An empty bin counts as half a row, so the result is finite. Bins that are empty on both sides do not count.

    Raises:
        ValueError: the bins are not the same, or one side has no rows.

    Source: the symmetric Kullback-Leibler divergence, sum((p - q) * ln(p / q)); Jeffreys, Proc. R. Soc. A 186 (1946).
    """
    if reference_B.shape != live_B.shape:
        raise ValueError(f"{len(reference_B)} bins cannot be held against {len(live_B)}")
    if not (reference_B.sum() > 0 and live_B.sum() > 0):
        raise ValueError("an empty side has no distribution")
    used = (reference_B > 0) | (live_B > 0)
    p = np.maximum(reference_B[used], 0.5)
    q = np.maximum(live_B[used], 0.5)
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def chance_index(num_bins: int, num_reference: int, num_live: int, level: float = 0.95) -> float:
    """What the index stays below, with probability `level`, when both sides are drawn alike.

    Source: the index is then about (1/N + 1/M) times a chi-squared variable with B - 1 degrees of freedom; Yurdakul,
    Statistical properties of the population stability index, Western Michigan University (2018).
    """
    if num_bins < 2:
        return 0.0
    return float((1 / num_reference + 1 / num_live) * chdtri(num_bins - 1, 1 - level))


def shifts(
    reference: Reference,
    specs: Sequence[InputSpec],
    inputs: Mapping[str, Values],
    known: Mapping[str, Collection[str]],
) -> list[Shift]:
    """Every sketched input held against other rows, the furthest first.

    Args:
        reference: of the training rows.
        specs: the model's inputs.
        inputs: other raw rows by input, as `FeatureEncoder` takes them.
        known: input -> all categories that training saw.
    """
    by_name = {spec.name: spec for spec in specs}
    found: list[Shift] = []
    for sketch in reference.inputs:
        if (spec := by_name.get(sketch.input)) is None or sketch.input not in inputs:
            continue
        is_hidden = isinstance(sketch, CategorySketch) and sketch.hidden
        measured = measures(spec, inputs[sketch.input], is_hidden).get(sketch.measure)
        if measured is not None:
            found.append(shift(sketch, measured, known.get(sketch.input)))
    return sorted(found, key=lambda moved: -moved.index)


def shift(sketch: Sketch, measured: Measured, known: Collection[str] | None = None) -> Shift:
    """One sketch held against the same measure of other rows (N,); `known` are all categories that training saw."""
    before_B, now_B = sketch.counts, sketch.count(measured)
    used = int(((before_B > 0) | (now_B > 0)).sum())
    new_share, new = _new_categories(sketch, measured, known)
    return Shift(
        input=sketch.input, measure=sketch.measure, index=population_stability_index(before_B, now_B),
        chance=chance_index(used, sketch.num_rows, len(measured)), missing_before=sketch.missing,
        missing_now=float(now_B[0] / len(measured)), outside=_outside(sketch, measured), new=new_share,
        new_categories=new,
    )  # fmt: skip


def _outside(sketch: Sketch, numbers_N: np.ndarray) -> float:
    if not isinstance(sketch, NumberSketch) or sketch.minimum is None or sketch.maximum is None:
        return 0.0
    known = numbers_N[~np.isnan(numbers_N)]
    beyond = (known < sketch.minimum) | (known > sketch.maximum)
    return float(beyond.mean()) if len(known) else 0.0


def _new_categories(sketch: Sketch, texts_N: Measured, known: Collection[str] | None) -> tuple[float, tuple[str, ...]]:
    if not isinstance(sketch, CategorySketch):
        return 0.0, ()
    if known is None:
        if sketch.hidden or sketch.rest > 0:
            return 0.0, ()  # a category that is not in the sketch may be one of the rest
        known = sketch.categories
    seen = set(known)
    texts, counts = by_frequency(texts_N)
    new = [i for i, text in enumerate(texts) if text not in seen]
    share = float(counts[new].sum() / counts.sum()) if len(counts) else 0.0
    return share, () if sketch.hidden else tuple(texts[i] for i in new[:NUM_NAMED])
