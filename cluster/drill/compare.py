"""Whether two runs ended with the same: weights and the history of scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PARTS = ("train/", "validation/")  # what is told of an epoch besides these, its seconds above all, may differ


@dataclass(frozen=True)
class Difference:
    """The largest of all; 0 at nothing is equality to the bit."""

    largest: float
    where: str  # its name; empty when there is none
    num_compared: int

    @property
    def is_equal(self) -> bool:
        """To the bit."""
        return not self.where


def compare_weights(unbroken: Mapping[str, Tensor], broken: Mapping[str, Tensor]) -> Difference:
    """The largest absolute difference of a weight. A tensor that only one has, or of another shape, is infinite."""
    worst = Difference(0.0, "", len(unbroken))
    for name in sorted({*unbroken, *broken}):
        distance = _distance(unbroken.get(name), broken.get(name))
        if distance > worst.largest or (
            distance == 0.0 and not worst.where and not _same(unbroken[name], broken[name])
        ):
            worst = Difference(distance, name, len(unbroken))
    return worst


def compare_history(unbroken: Sequence[Mapping[str, Any]], broken: Sequence[Mapping[str, Any]]) -> Difference:
    """The largest absolute difference of a score in any epoch, as `validation/accuracy in epoch 3`."""
    if len(unbroken) != len(broken):
        return Difference(math.inf, f"{len(unbroken)} epochs and {len(broken)}", 0)
    worst, num_compared = Difference(0.0, "", 0), 0
    for epoch, (one, other) in enumerate(zip(unbroken, broken, strict=True), start=1):
        for name in sorted(name for name in {*one, *other} if name.startswith(PARTS)):
            num_compared += 1
            distance = _gap(one.get(name), other.get(name))
            if distance > worst.largest:
                worst = Difference(distance, f"{name} in epoch {epoch}", 0)
    return Difference(worst.largest, worst.where, num_compared)


def _distance(one: Tensor | None, other: Tensor | None) -> float:
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return math.inf
    if not one.numel():
        return 0.0
    gap = (one.double() - other.double()).abs()
    gap = torch.where(one.isnan() & other.isnan(), torch.zeros_like(gap), gap)
    return math.inf if bool(gap.isnan().any()) else float(gap.max())


def _same(one: Tensor, other: Tensor) -> bool:
    """To the bit: -0.0 is not 0.0."""
    return one.contiguous().flatten().view(torch.uint8).equal(other.contiguous().flatten().view(torch.uint8))


def _gap(one: float | None, other: float | None) -> float:
    if one is None and other is None:  # as the record keeps a NaN
        return 0.0
    if one is None or other is None:
        return math.inf
    if math.isnan(one) and math.isnan(other):
        return 0.0
    gap = abs(one - other)
    return math.inf if math.isnan(gap) else gap
