"""Golden rows against what is answered here: whether a variant still says what it said when it was packed.

Shape letters: N rows, K classes or labels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.package.answers import numbers_name, outputs_of
from training.package.decision import margins
from training.package.errors import PackageError
from training.package.manifest import Variant
from training.package.read import Package


def check_golden(package: Package, variant: Variant, answered: Mapping[str, np.ndarray]) -> None:
    """Raise PackageError where an answer to a golden row leaves the variant's tolerance, or is of another label.

    Args:
        package: with its golden rows.
        variant: whose golden answers count.
        answered: outputs by name, see `training.package.answers.outputs_of`, of the golden rows in their order.
    """
    expected = package.golden.outputs.get(variant.name)
    if package.golden.num_rows == 0 or expected is None:
        raise PackageError(f"{package.folder} has no golden rows for variant {variant.name}")
    manifest = package.manifest
    name = numbers_name(manifest.task)
    golden = _numbers(package, expected, name)
    if golden.shape != answered[name].shape:
        raise PackageError(f"{package.folder}: golden {name} has shape {golden.shape}, got {answered[name].shape}")
    difference = float(np.abs(golden - answered[name]).max())
    if not difference <= variant.tolerance:  # also true when the difference is NaN
        raise PackageError(
            f"{package.folder}: variant {variant.name} answers its golden rows otherwise here: "
            f"{name} differ by {difference:.3g}, allowed {variant.tolerance:.3g}",
            "compress again on this kind of machine, or serve another variant",
        )
    if manifest.task in ("classification", "multilabel"):
        _check_texts(package, expected, golden)
    if manifest.task == "classification":
        _check_answered(package, expected["label"], answered["label"], margins(golden, manifest.threshold), variant)


def _numbers(package: Package, expected: Mapping[str, list[Any]], name: str) -> np.ndarray:
    try:
        return np.array(expected[name], dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise PackageError(f"{package.folder}: its golden rows hold no {name} that can be read") from error


def _check_texts(package: Package, expected: Mapping[str, list[Any]], golden_NK: np.ndarray) -> None:
    """Of the golden probabilities themselves, so that no tolerance hides labels in another order."""
    manifest = package.manifest
    name = "label" if manifest.task == "classification" else "labels"
    said, there = outputs_of(manifest.task, manifest.labels, golden_NK, manifest.threshold)[name], expected.get(name)
    if there is None or len(there) != len(said):
        raise PackageError(f"{package.folder}: its golden rows have no {name}")
    for row, (here, golden) in enumerate(zip(said, there, strict=True)):
        if here != golden:
            raise PackageError(f"{package.folder}: golden row {row} is {golden!r}, by its own probabilities {here!r}")


def _check_answered(
    package: Package, expected_N: list[str], answered_N: np.ndarray, margin_N: np.ndarray, variant: Variant
) -> None:
    for row in np.flatnonzero(margin_N > variant.tolerance):  # others may tip either way
        if answered_N[row] != expected_N[row]:
            raise PackageError(
                f"{package.folder}: golden row {row} is {expected_N[row]!r}, answered {answered_N[row]!r}"
            )
