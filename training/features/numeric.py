"""Fit a column of numbers. Shape letters: N rows, K knots."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from training.data.column_config import NumericConfig
from training.errors import DataError
from training.features.moments import Moments
from training.features.sketch import CAPACITY, QuantileSketch
from training.package.fitted import NumericTransform
from training.package.manifest import InputSpec
from training.package.numbers import LARGEST, MAX_SCALES, signed_log

MAX_KNOTS = 1000  # of a rank transform
QUARTILES_OF_NORMAL = 2 * NormalDist().inv_cdf(0.75)  # distance of the quartiles where the deviation is 1
MIN_SCALE = 1e-30  # a smaller one could become 0 as a float32

Bend = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class NumericSummary:
    """What fitting needs of a column's numbers, mergeable with that of further rows."""

    moments: Moments
    logs: Moments | None  # of the signed logarithms, where they are asked for
    sketch: QuantileSketch
    num_missing: int
    num_infinite: int

    @classmethod
    def of(cls, values_N: np.ndarray, config: NumericConfig, capacity: int | None = CAPACITY) -> "NumericSummary":
        """Of float32 numbers, NaN where missing. `capacity` None keeps all numbers for exact quantiles."""
        is_finite_N = np.isfinite(values_N)
        known = values_N if is_finite_N.all() else values_N[is_finite_N]
        num_infinite = int(np.isinf(values_N).sum()) if len(known) < len(values_N) else 0
        return cls(
            moments=Moments.of(known),
            logs=Moments.of(signed_log(known.astype(np.float64))) if config.log else None,
            sketch=QuantileSketch(known, capacity),
            num_missing=len(values_N) - len(known) - num_infinite,
            num_infinite=num_infinite,
        )

    def merge(self, other: "NumericSummary") -> "NumericSummary":
        """Both together."""
        return NumericSummary(
            self.moments.merge(other.moments),
            self.logs.merge(other.logs) if self.logs is not None and other.logs is not None else None,
            self.sketch.merge(other.sketch),
            self.num_missing + other.num_missing,
            self.num_infinite + other.num_infinite,
        )

    def finish(self, name: str, config: NumericConfig) -> tuple[NumericTransform, InputSpec]:
        """The transform and what a client is told. Raises DataError where there is nothing to fit on."""
        self._require_numbers(name)
        low, high = self.sketch.quantiles(config.clip).tolist() if config.clip else (None, None)
        clip = (low, high) if low is not None and high is not None else None
        fill = self._fill(name, config)
        bend = _bend(clip, config.log)
        moments = self._bent_moments(clip, bend).merge(Moments.repeated(float(bend(np.array(fill))), self.num_missing))
        plain = NumericTransform(
            name=name, fill=fill, mean=0.0, scale=1.0, clip=clip, log=config.log, indicator=config.indicator
        )
        return self._scaled(plain, config, bend, moments), InputSpec(
            name=name, kind="numeric", datatype="FP32", minimum=self.moments.minimum, maximum=self.moments.maximum
        )

    def _require_numbers(self, name: str) -> None:
        if self.num_infinite:
            raise DataError(
                f"{name}: {self.num_infinite} infinite values (or beyond float32) in the training part",
                "correct them, or set data.checks so that their rows are set aside",
            )
        if not self.moments.count:
            raise DataError(
                f"{name}: every value in the training part is missing", f"data.ignore: [{name}] leaves the column out"
            )

    def _fill(self, name: str, config: NumericConfig) -> float:
        match config.fill:
            case "median":
                return float(self.sketch.quantiles([0.5])[0])
            case "mean":
                return self.moments.mean
        if not abs(config.fill) <= LARGEST:  # also true of NaN
            raise DataError(
                f"{name}: the fill {config.fill} is not a number that float32 can hold", "fill: median is the default"
            )
        return float(config.fill)

    def _bent_moments(self, clip: tuple[float, float] | None, bend: Bend) -> Moments:
        if clip is None:
            return self.logs or self.moments
        return self.sketch.moments(bend)

    def _scaled(self, plain: NumericTransform, config: NumericConfig, bend: Bend, moments: Moments) -> NumericTransform:
        spread = max(moments.deviation, MIN_SCALE)
        match config.scale:
            case "standard":
                return plain.model_copy(update={"mean": moments.mean, "scale": spread})
            case "robust":
                low, middle, high = bend(self.sketch.quantiles([0.25, 0.5, 0.75])).tolist()
                # More than half of the values may be the same.
                scale = (high - low) / QUARTILES_OF_NORMAL if high > low else spread
                return plain.model_copy(update={"mean": middle, "scale": max(scale, MIN_SCALE)})
            case "quantile":
                knots, deviates = _knots(*self.sketch.weighted(), bend)
                return plain.model_copy(update={"knots": knots, "deviates": deviates})
        bounds = (moments.mean - MAX_SCALES * spread, moments.mean + MAX_SCALES * spread)
        return plain.model_copy(update={"bounds": bounds})


def _bend(clip: tuple[float, float] | None, log: bool) -> Bend:
    def bend(values: np.ndarray) -> np.ndarray:
        bent = values.astype(np.float64)
        bent = bent if clip is None else np.clip(bent, *clip)
        return signed_log(bent) if log else bent

    return bend


def _knots(values_N: np.ndarray, weights_N: np.ndarray, bend: Bend) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Values and the normal deviates of their ranks; equal values have the middle one of theirs."""
    bent_N, place_N = np.unique(bend(values_N), return_inverse=True)  # clipped ones have become equal
    merged_N = np.bincount(place_N, weights=weights_N)
    ends_N = np.cumsum(merged_N)
    rank_N = (ends_N - merged_N / 2) / ends_N[-1]
    picked = np.arange(len(bent_N))
    if len(bent_N) > MAX_KNOTS:
        # At even ranks, the smallest and the largest among them.
        wanted = np.linspace(rank_N[0], rank_N[-1], MAX_KNOTS)
        picked = np.unique(np.clip(np.searchsorted(rank_N, wanted), 0, len(bent_N) - 1))
    normal = NormalDist()
    return tuple(bent_N[picked].tolist()), tuple(normal.inv_cdf(rank) for rank in rank_N[picked].tolist())
