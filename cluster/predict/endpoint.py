"""An endpoint as the model that answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cluster.predict.answers import Arrays
from serving.client import Client
from training.errors import ConfigError
from training.package.manifest import InputSpec

ROWS_PER_REQUEST = 256
BYTES_PER_REQUEST = 4_000_000  # of arrays: an endpoint refuses bodies beyond `serve.max_body_mb`


class EndpointModel:
    """A model behind an endpoint, asked with binary tensors."""

    def __init__(self, client: Client, model: str | None) -> None:
        """`model` is name or name@version; it may be left out where only one is served."""
        self._client = client
        self._name, _, version = (model or _only_model(client)).partition("@")
        self._version = version or None
        metadata = client.metadata(self._name, self._version)
        self.specs = _specs(metadata)
        # How the training table was read, as `table_reading_of` has it; an endpoint of an older version does not say.
        self.shaping: Mapping[str, Any] = metadata["parameters"].get("table") or {}
        self.task, self.labels = metadata["parameters"]["task"], tuple(metadata["parameters"]["labels"])

    def __call__(self, inputs: Arrays) -> Arrays:
        """Answers, in as many requests as the rows take."""
        num_rows = len(next(iter(inputs.values())))
        row_bytes = max(1, sum(values.nbytes for values in inputs.values()) // num_rows)
        size = max(1, min(ROWS_PER_REQUEST, BYTES_PER_REQUEST // row_bytes))
        parts = [self._ask(inputs, slice(start, start + size)) for start in range(0, num_rows, size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _ask(self, inputs: Arrays, rows: slice) -> Arrays:
        return self._client.infer(
            self._name, {name: values[rows] for name, values in inputs.items()}, version=self._version
        )


def _specs(metadata: Mapping[str, Any]) -> tuple[InputSpec, ...]:
    hints = metadata["parameters"]["inputs"]
    return tuple(
        InputSpec.model_validate(spec | {"shape": spec["shape"][1:]} | hints[spec["name"]])
        for spec in metadata["inputs"]
    )


def _only_model(client: Client) -> str:
    names = [str(model["name"]) for model in client.models()]
    if len(names) != 1:
        raise ConfigError(
            f"{client.url} serves {len(names)} models", f"--model, one of: {', '.join(names) or 'none yet'}"
        )
    return names[0]
