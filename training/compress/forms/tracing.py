"""What every way of exporting a scoring model needs. Shape letters: N rows."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim

from training.package.byte_tokens import PAD
from training.package.manifest import Task


def at_least_two(example: Mapping[str, np.ndarray], task: Task) -> dict[str, np.ndarray]:
    """torch.export takes a size of 1 as a constant, so the graph would accept single rows only."""
    rows = {name: values if len(values) > 1 else np.repeat(values, 2, axis=0) for name, values in example.items()}
    if task == "language_modelling" and rows["tokens"].shape[1] == 1:  # and likewise for texts of a single window
        rows["tokens"] = np.pad(rows["tokens"], ((0, 0), (0, 1), (0, 0)), constant_values=PAD)
    return rows


def free_axes(rows: Mapping[str, np.ndarray], task: Task) -> tuple[tuple[dict[int, Dim], ...]]:
    """The axes of each tensor that may have any size. One entry: forward has one parameter, `*tensors`."""
    batch, windows = Dim("batch", min=1), Dim("windows", min=1)
    free = {0: batch, 1: windows} if task == "language_modelling" else {0: batch}
    return (tuple(free for _ in rows),)


def as_tensors(rows: Mapping[str, np.ndarray], device: str = "cpu") -> tuple[Tensor, ...]:
    """The same as torch has them."""
    # Copied, since some arrays are read-only.
    return tuple(torch.from_numpy(np.array(values)).to(device) for values in rows.values())


def cause(error: BaseException) -> str:
    """The first line of what set it all off: torch wraps the reason in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
