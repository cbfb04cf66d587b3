"""One served model: every path under /v2/models/{name}, from the bytes of a request to the bytes of its answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from serving.errors import ModelNotReady, RequestError, UnknownModel, UnknownPath, UnsupportedEncoding, WrongMethod
from serving.protocol.infer import infer_reply, parse_infer, parse_json
from serving.protocol.inputs import inputs_from_records
from serving.protocol.reply import Reply, error_reply, failure_reply, json_reply
from training.package.answers import records_of
from training.package.golden import Golden
from training.package.manifest import InputSpec, Manifest

Parsed = TypeVar("Parsed")
Inputs = Mapping[str, np.ndarray]
Predict = Callable[[Inputs, int], Awaitable[Mapping[str, np.ndarray]]]  # inputs, number of rows -> outputs by name

_ACTIONS = {"": "GET", "ready": "GET", "infer": "POST", "predict": "POST"}


@dataclass(frozen=True)
class ModelInfo:
    """What the protocol needs to know of a served package."""

    name: str
    version: str
    manifest: Manifest
    golden: Golden
    variant: str
    table: Mapping[str, Any] = field(default_factory=dict)  # how its table was read, see `table_reading_of`


class ModelHandler:
    """Answers requests for one model. `predict` runs it, `is_ready` says whether its last health check passed."""

    def __init__(self, info: ModelInfo, predict: Predict, is_ready: Callable[[], bool]) -> None:
        self._info, self._predict, self._is_ready = info, predict, is_ready
        self._inputs, self._outputs = info.manifest.inputs, info.manifest.outputs
        self._takes_files = any(spec.is_file for spec in self._inputs)
        self._labels = info.manifest.labels
        self._metadata = json_reply(metadata(info))
        # Looked up by whole path: splitting and decoding each path would cost more than the rest of the routing.
        self._actions = {
            base + (f"/{action}" if action else ""): action
            for base in (model_path(info.name), f"{model_path(info.name)}/versions/{info.version}")
            for action in _ACTIONS
        }

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Always an answer: the model's, our error with its reason, or 500 for a mistake of ours."""
        try:
            return await self._answer(self._route(method, path), headers, body)
        except RequestError as error:
            return error_reply(error)
        except Exception:
            return failure_reply()

    def _route(self, method: str, path: str) -> str:
        action = self._actions.get(path)
        if action is None and (action := self._actions.get(path.rstrip("/"))) is None:
            raise self._unknown(path)
        allowed = _ACTIONS[action]
        if method != allowed and not (method == "HEAD" and allowed == "GET"):
            raise WrongMethod(f"{path} takes {allowed}, got {method}", allowed)
        return action

    def _unknown(self, path: str) -> RequestError:
        known = [f"{model_path(self._info.name)}{f'/{action}' if action else ''}" for action in _ACTIONS]
        after = path.removeprefix(f"{model_path(self._info.name)}/versions/")
        version = after.split("/")[0]
        if after != path and version != self._info.version:
            served = f"{self._info.name} is served in version {self._info.version}"
            return UnknownModel(f"there is no version {version!r} of {self._info.name}; {served}")
        return UnknownPath(f"there is no path {path!r}; known: {', '.join(known)}")

    async def _answer(self, action: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if action == "":
            return self._metadata
        if action == "ready":
            if not self._is_ready():
                raise ModelNotReady(f"{self._info.name} did not pass its last health check")
            return json_reply({"name": self._info.name, "ready": True})
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise UnsupportedEncoding(f"Content-Encoding is {encoding[:40]!r}; send the body uncompressed")
        if action == "infer":
            return await self._infer(headers, body)
        return await self._predict_records(body)

    async def _infer(self, headers: Mapping[str, str], body: bytes) -> Reply:
        request = await self._parse(parse_infer, headers, body, self._inputs, self._outputs)
        outputs = await self._predict(request.inputs, request.num_rows)
        return infer_reply(request, outputs, self._info.name, self._info.version)

    async def _parse(self, parse: Callable[..., Parsed], *arguments: Any) -> Parsed:
        """In a thread where images must be decoded: for that long no health check may wait."""
        if self._takes_files:
            return await asyncio.to_thread(parse, *arguments)
        return parse(*arguments)

    async def _predict_records(self, body: bytes) -> Reply:
        inputs = await self._parse(lambda: inputs_from_records(parse_json(body), self._inputs))
        outputs = await self._predict(inputs, len(next(iter(inputs.values()))))
        return json_reply(records_from_outputs(outputs, self._labels))


def model_path(name: str) -> str:
    """Where a model lives: every path of it starts with this. Names need no quoting, the registry sees to it."""
    return f"/v2/models/{name}"


def records_from_outputs(outputs: Mapping[str, np.ndarray], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """One record a row, see `training.package.answers.records_of`. Numbers stay numpy float32."""
    return records_of(outputs, labels)


def metadata(info: ModelInfo) -> dict[str, Any]:
    """Model metadata of the protocol. What it has no place for stands under `parameters`."""
    manifest = info.manifest
    chosen = manifest.variant(info.variant)
    return {
        "name": info.name,
        "versions": [info.version],
        "platform": f"{chosen.runtime}_onnx",
        "inputs": [
            {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *(() if spec.is_file else spec.shape)]}
            for spec in manifest.inputs
        ],
        "outputs": [
            {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]} for spec in manifest.outputs
        ],
        "parameters": {
            "task": manifest.task,
            "labels": manifest.labels,
            "threshold": manifest.threshold,
            "metric": manifest.metric,
            "score": chosen.metrics.get(manifest.metric),
            "variant": info.variant,
            "created_at": manifest.created_at,
            "inputs": {spec.name: _input_hints(spec) for spec in manifest.inputs},
            "table": info.table,
            "example": {name: values[0] for name, values in info.golden.inputs.items() if values},
        },
    }


def _input_hints(spec: InputSpec) -> dict[str, Any]:
    return {
        "kind": spec.kind,
        "categories": spec.categories,
        "minimum": spec.minimum,
        "maximum": spec.maximum,
        "columns": spec.columns,
        "shape": spec.shape,
        "format": spec.format,
        "missing": spec.missing,
    }
