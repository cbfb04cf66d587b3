"""A typed HTTP client for an endpoint; speaks binary tensors unless told otherwise."""

import base64
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Self

import numpy as np
import orjson
import requests

from serving.errors import ClientError
from serving.protocol.infer import HEADER_LENGTH
from serving.protocol.model import model_path
from serving.protocol.tensors import NUMERIC_DTYPES, read_binary, write_binary
from training.package.dates import iso_texts
from training.package.values import as_objects

_DATATYPES = {dtype: name for name, dtype in NUMERIC_DTYPES.items() if name != "BOOL"}


class Client:
    """Talks to one endpoint. Raises ClientError with the server's own reason."""

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._session = requests.Session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def live(self) -> bool:
        """True if something answers for the server."""
        return self._ok("/v2/health/live")

    def ready(self, name: str | None = None, version: str | None = None) -> bool:
        """True if the model is ready, or every model when none is named."""
        return self._ok("/v2/health/ready" if name is None else f"{_path(name, version)}/ready")

    def models(self) -> list[dict[str, Any]]:
        """Models served here, each with its name and state."""
        models: list[dict[str, Any]] = self._json("GET", "/v2/models")
        return models

    def metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Inputs, outputs, labels, score and an example row of a model."""
        content: dict[str, Any] = self._json("GET", _path(name, version))
        return content

    def predict(
        self, name: str, records: Sequence[Mapping[str, Any]], version: str | None = None
    ) -> list[dict[str, Any]]:
        """One answer a record: {"label", "probabilities": {label: p}} or {"prediction"}."""
        body = orjson.dumps([dict(record) for record in records], option=orjson.OPT_SERIALIZE_NUMPY)
        answers: list[dict[str, Any]] = self._json("POST", f"{_path(name, version)}/predict", body)
        return answers

    def infer(
        self, name: str, inputs: Mapping[str, Any], *, binary: bool = True, version: str | None = None
    ) -> dict[str, np.ndarray]:
        """Outputs by name: texts as object arrays, numbers as float32.

        Args:
            inputs: arrays or lists by input name; None, NaN or NaT where a value is missing; bytes for an encoded
                image.
            binary: send and receive raw bytes instead of JSON numbers.
        """
        described, blobs = [], []
        for input_name, values in inputs.items():
            tensor, blob = _tensor(input_name, values, binary)
            described.append(tensor)
            blobs.append(blob)
        head = orjson.dumps(
            {"inputs": described, "parameters": {"binary_data_output": binary}}, option=orjson.OPT_SERIALIZE_NUMPY
        )
        headers = {HEADER_LENGTH: str(len(head))} if binary else {}
        response = self._send("POST", f"{_path(name, version)}/infer", b"".join((head, *blobs)), headers)
        return _outputs(response)

    def _ok(self, path: str) -> bool:
        try:
            response = self._session.get(self.url + path, timeout=self.timeout_s)
        except requests.RequestException:
            return False  # what cannot be reached is not ready; `metadata` tells why
        return response.status_code == HTTPStatus.OK

    def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        return self._send(method, path, body, {}).json()

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> requests.Response:
        try:
            response = self._session.request(
                method, self.url + path, data=body, headers=headers, timeout=self.timeout_s
            )
        except requests.RequestException as error:
            raise self._no_answer(error) from error
        if response.status_code != HTTPStatus.OK:
            raise ClientError(f"{self.url}{path} answered {response.status_code}: {_reason(response)}")
        return response

    def _no_answer(self, error: requests.RequestException) -> ClientError:
        match error:
            case requests.Timeout():
                return ClientError(f"{self.url} did not answer within {self.timeout_s:g} s")
            case requests.ConnectionError():
                return ClientError(f"nothing answers at {self.url}", "`manta deploy` brings an endpoint up")
        return ClientError(f"{self.url} cannot be asked: {error}", "give it as http://127.0.0.1:8000")


def _path(name: str, version: str | None) -> str:
    return model_path(name) + (f"/versions/{version}" if version else "")


def _reason(response: requests.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]  # not from us: a proxy on the way


def _tensor(name: str, values: Any, binary: bool) -> tuple[dict[str, Any], bytes]:
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return _object_tensor(name, as_objects(iso_texts(array.ravel())).reshape(array.shape), binary)
    if array.dtype.kind in "OUS":
        return _object_tensor(name, values, binary)
    if array.dtype.kind == "b":
        datatype, array = "BOOL", array.astype(np.uint8) if binary else array
    else:
        array = array.astype(array.dtype.newbyteorder("<"))
        if array.dtype not in _DATATYPES:
            raise ClientError(f"input {name!r}: arrays of {array.dtype} cannot be sent")
        datatype = _DATATYPES[array.dtype]
    tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype}
    if not binary:
        return {**tensor, "data": array.ravel().tolist()}, b""  # orjson writes NaN as null, which means missing
    blob = array.tobytes()
    return {**tensor, "parameters": {"binary_data_size": len(blob)}}, blob


def _object_tensor(name: str, values: Any, binary: bool) -> tuple[dict[str, Any], bytes]:
    array = np.array(values, dtype=object)
    flat = array.ravel().tolist()
    if all(value is None or isinstance(value, int | float) for value in flat) and any(v is not None for v in flat):
        return _tensor(name, array.astype(np.float64), binary)  # numbers with gaps: None becomes NaN
    tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": "BYTES"}
    if not binary or not all(isinstance(value, str | bytes) for value in flat):
        data = [base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in flat]
        return {**tensor, "data": data}, b""  # bytes have no way to say that a text is missing, JSON has null
    blob = write_binary(array)
    return {**tensor, "parameters": {"binary_data_size": len(blob)}}, blob


def _outputs(response: requests.Response) -> dict[str, np.ndarray]:
    body = response.content
    size = int(response.headers.get(HEADER_LENGTH, len(body)))
    head, blobs = json.loads(body[:size]), memoryview(body)[size:]
    outputs: dict[str, np.ndarray] = {}
    for tensor in head["outputs"]:
        name, datatype, shape = tensor["name"], tensor["datatype"], tuple(tensor["shape"])
        if (num_bytes := tensor.get("parameters", {}).get("binary_data_size")) is not None:
            values = read_binary(name, datatype, shape, blobs[:num_bytes]).values
            blobs = blobs[num_bytes:]
        else:
            values = np.array(tensor["data"], dtype=object if datatype == "BYTES" else np.float32)
        outputs[name] = values.reshape(shape)
    return outputs
