"""Fits feature transforms on training rows. What applies them lives in `training.package.transforms`.

`training.features.streamed` does the same on data larger than memory; it needs Ray.
"""

from training.features.fit import fit_transforms

__all__ = ["fit_transforms"]
