"""Golden rows: inputs and the answers of each variant, replayed wherever the package is loaded."""

from typing import Any

import numpy as np

from training.package.manifest import InputSpec
from training.package.shapes import StoredModel


class Golden(StoredModel):
    """A few held-out rows as JSON values: null where missing, an image as nested lists."""

    inputs: dict[str, list[Any]]  # input name -> one value a row
    outputs: dict[str, dict[str, list[Any]]]  # variant -> output name -> one value a row

    @property
    def num_rows(self) -> int:
        """Rows to replay."""
        return min((len(values) for values in self.inputs.values()), default=0)

    def arrays(self, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
        """The rows in the form that `FeatureEncoder` takes."""
        return {spec.name: json_to_array(self.inputs[spec.name], spec) for spec in specs}


def json_to_array(values: list[Any], spec: InputSpec) -> np.ndarray:
    """JSON values of one input: (N,) float32 with NaN for null, (N,) str or None, or (N, C, H, W) float32."""
    if spec.kind == "categorical":
        texts_N = np.empty(len(values), dtype=object)
        texts_N[:] = values
        return texts_N
    array = np.array(values, dtype=np.float32)  # None becomes NaN
    return array.reshape(len(values), *spec.shape)
