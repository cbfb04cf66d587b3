"""What every runtime offers: tensors in, scores out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from training.package.errors import PackageError

TENSOR_NAMES = frozenset({"image", "numeric", "categorical", "tokens"})
OUTPUT_NAME = "scores"


class Runner(Protocol):
    """One variant, loaded. Calls are safe from several threads."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Tensors that it takes, in the model's order."""
        ...

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities (N, K) float32; predictions (N,) of a regression; log-likelihoods (N,) of texts.

        What is given back is the caller's own: no later call writes over it.

        Args:
            tensors: at least those of `input_names`, as `FeatureEncoder` gives them.

        Raises:
            PackageError: the runtime refuses these shapes.
        """
        ...


def check_names(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise PackageError unless a file takes what Manta makes and gives `scores`."""
    if not inputs or not set(inputs) <= TENSOR_NAMES or list(outputs) != [OUTPUT_NAME]:
        raise PackageError(
            f"{path} takes {', '.join(inputs) or 'nothing'} and gives {', '.join(outputs) or 'nothing'}; "
            f"a variant takes some of {', '.join(sorted(TENSOR_NAMES))} and gives {OUTPUT_NAME}"
        )


def first_line(error: BaseException) -> str:
    """The first line of a foreign error that says something: runtimes print whole call stacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
