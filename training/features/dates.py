"""Fit a column of dates. Shape letters: N rows, V distinct values of a part."""

from dataclasses import dataclass

import numpy as np

from training.data.column_config import DateConfig
from training.errors import DataError
from training.features.moments import Moments
from training.features.numeric import MIN_SCALE
from training.features.sketch import CAPACITY, QuantileSketch, weighted_quantiles
from training.package.dates import date_part
from training.package.fitted import CYCLES, DatePart, DatePartTransform, DateTransform
from training.package.manifest import InputSpec


@dataclass(frozen=True)
class PartCounts:
    """How often each value of a part of a date stands; there are few of them."""

    values_V: np.ndarray
    counts_V: np.ndarray

    @classmethod
    def of(cls, numbers_N: np.ndarray) -> "PartCounts":
        """Of the known numbers."""
        return cls(*np.unique(numbers_N, return_counts=True))

    def merge(self, other: "PartCounts") -> "PartCounts":
        """Both together."""
        both = np.concatenate([self.values_V, other.values_V])
        values, index = np.unique(both, return_inverse=True)
        counts = np.bincount(index, weights=np.concatenate([self.counts_V, other.counts_V]), minlength=len(values))
        return PartCounts(values, counts.astype(np.int64))


@dataclass(frozen=True)
class DateSummary:
    """What fitting needs of a column's dates, mergeable with that of further rows."""

    seconds: Moments  # since 1970
    sketch: QuantileSketch  # of the same
    parts: dict[DatePart, PartCounts]
    num_missing: int

    @classmethod
    def of(cls, dates_N: np.ndarray, config: DateConfig, capacity: int | None = CAPACITY) -> "DateSummary":
        """Of datetime64, NaT where missing."""
        known = dates_N[~np.isnat(dates_N)]
        seconds = date_part(known, "timestamp")
        parts: dict[DatePart, PartCounts] = {
            part: PartCounts.of(date_part(known, part)) for part in config.parts if part != "timestamp"
        }
        return cls(Moments.of(seconds), QuantileSketch(seconds, capacity), parts, len(dates_N) - len(known))

    def merge(self, other: "DateSummary") -> "DateSummary":
        """Both together."""
        return DateSummary(
            self.seconds.merge(other.seconds),
            self.sketch.merge(other.sketch),
            {part: counts.merge(other.parts[part]) for part, counts in self.parts.items()},
            self.num_missing + other.num_missing,
        )

    def finish(self, name: str, config: DateConfig, missing: tuple[str, ...]) -> tuple[DateTransform, InputSpec]:
        """The transform and what a client is told. Raises DataError where there is nothing to fit on."""
        if not self.seconds.count:
            raise DataError(
                f"{name}: every date in the training part is missing", f"data.ignore: [{name}] leaves the column out"
            )
        parts = [self._part(part, config.cyclic) for part in dict.fromkeys(config.parts) if self._varies(part)]
        spec = InputSpec(
            name=name, kind="date", datatype="BYTES", minimum=self.seconds.minimum, maximum=self.seconds.maximum,
            format=config.format, missing=missing,
        )  # fmt: skip
        return DateTransform(name=name, parts=tuple(parts)), spec

    def _varies(self, part: DatePart) -> bool:
        """A part that is always the same teaches nothing, and the first other value would be noise."""
        if part == "timestamp":
            return self.seconds.minimum < self.seconds.maximum
        return len(self.parts[part].values_V) > 1

    def _part(self, part: DatePart, cyclic: bool) -> DatePartTransform:
        if part == "timestamp":
            fill, moments = float(self.sketch.quantiles([0.5])[0]), self.seconds
        else:
            counts = self.parts[part]
            fill = float(weighted_quantiles(counts.values_V, counts.counts_V, [0.5])[0])
            moments = Moments.weighted(counts.values_V, counts.counts_V)
        if cyclic and part in CYCLES:
            return DatePartTransform(part=part, fill=fill, cyclic=True)
        moments = moments.merge(Moments.repeated(fill, self.num_missing))
        return DatePartTransform(part=part, fill=fill, mean=moments.mean, scale=max(moments.deviation, MIN_SCALE))
