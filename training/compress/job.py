"""What compression is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from training.compress.held_out import HeldOut
from training.compress.tasks import Tensors, Trained
from training.compress_config import CompressConfig
from training.package.card_measured import SliceScore
from training.package.manifest import Comparison, Variant


@dataclass(frozen=True)
class Kept:
    """Forms that a package has already: measured beside the new ones, and left as they are."""

    variants: tuple[Variant, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)  # by path inside the package

    @property
    def names(self) -> frozenset[str]:
        """Of the forms."""
        return frozenset(variant.name for variant in self.variants)


@dataclass(frozen=True)
class Job:
    """One model to compress."""

    trained: Trained
    held_out: HeldOut
    golden: Tensors  # golden rows, as the model takes them
    calibration: Tensors  # training rows, likewise
    metric: str  # plain name of the score that must be kept
    mode: Literal["max", "min"]
    config: CompressConfig
    num_threads: int = 1  # that one replica will use
    can_rebuild: bool = True  # False: the torch module is not at hand, and only ONNX forms can be made
    kept: Kept = field(default=Kept())


@dataclass(frozen=True)
class CompressResult:
    """The forms with what was measured, and the one to serve."""

    variants: tuple[Variant, ...]  # the baseline first; those that a package had are as they were
    chosen: str
    reason: str
    comparison: Comparison
    files: Mapping[str, bytes]  # by path inside a package
    scores: Mapping[str, np.ndarray]  # answers to all held-out rows, by form
    golden: Mapping[str, np.ndarray]  # answers to the golden rows, by form
    not_made: Mapping[str, str] = field(default_factory=dict)
    tried: tuple[dict[str, Any], ...] = ()  # students of a distillation
    slices: tuple[SliceScore, ...] = ()  # the deciding score of the chosen form on parts of the held-out rows

    def variant(self) -> Variant:
        """The chosen one."""
        return next(variant for variant in self.variants if variant.name == self.chosen)
