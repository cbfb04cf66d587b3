"""Requests for the tiny packages, valid unless a test breaks them, and a handler without Ray around it."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.predictor import Predictor
from serving.protocol.model import ModelHandler, ModelInfo
from serving.protocol.reply import Reply
from training.package.table_reading import table_reading_of

RECORD: dict[str, Any] = {"age": 39, "hours": 40.5, "city": "Rome"}
LENGTH = "inference-header-content-length"


def table_request(**changes: Any) -> dict[str, Any]:
    """Two rows for the table model."""
    return {
        "id": "42",
        "inputs": [
            {"name": "age", "shape": [2], "datatype": "FP64", "data": [39, None]},
            {"name": "hours", "shape": [2, 1], "datatype": "INT32", "data": [[40], [12]]},
            {"name": "city", "shape": [2], "datatype": "BYTES", "data": ["Rome", None]},
        ],
        **changes,
    }


def binary_request() -> tuple[dict[str, Any], bytes]:
    """The JSON part and the binary part of one row for the table model."""
    blobs = [np.float64(39).tobytes(), np.uint8(40).tobytes(), b"\x04\x00\x00\x00Rome"]
    inputs = [
        {"name": name, "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": len(blob)}}
        for name, datatype, blob in zip(("age", "hours", "city"), ("FP64", "UINT8", "BYTES"), blobs, strict=True)
    ]
    return {"inputs": inputs, "parameters": {"binary_data_output": True}}, b"".join(blobs)


class Model:
    """A package behind the protocol, called directly."""

    def __init__(self, folder: Path, name: str = "adult") -> None:
        self.predictor = Predictor.load(folder)
        self.name = name
        self.is_ready = True
        package = self.predictor.package
        table = table_reading_of(folder)
        info = ModelInfo(name, "3", package.manifest, package.golden, self.predictor.variant.name, table)
        self.handler = ModelHandler(info, self._predict, lambda: self.is_ready)

    async def _predict(self, inputs: Mapping[str, np.ndarray], _num_rows: int) -> Mapping[str, np.ndarray]:
        return self.predictor.predict(inputs)

    def ask(self, method: str, action: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """One request below the model's own path."""
        path = f"/v2/models/{self.name}{action}"
        return asyncio.run(self.handler.handle(method, path, headers or {}, body))

    def infer(self, request: Any) -> Reply:
        """An inference request in JSON."""
        return self.ask("POST", "/infer", json.dumps(request).encode())

    def infer_binary(self, request: Any, blobs: bytes, length: object = None) -> Reply:
        """An inference request with a binary part; `length` replaces the true length of the JSON part."""
        head = json.dumps(request).encode()
        return self.ask("POST", "/infer", head + blobs, {LENGTH: str(len(head) if length is None else length)})

    def records(self, body: Any) -> Reply:
        """A request with records."""
        return self.ask("POST", "/predict", json.dumps(body).encode())


def error_of(reply: Reply) -> str:
    """The reason of a refusal, and that it has the protocol's form."""
    content = json.loads(reply.body)
    assert list(content) == ["error"]
    assert 400 <= reply.status < 500, content
    return str(content["error"])
