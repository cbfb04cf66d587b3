"""Random damage to valid requests: an answer or a refusal with a reason, never a failure of ours."""

import copy
import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.protocol.reply import Reply
from tests.serving.asking import RECORD, Model, binary_request, table_request

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
    | st.sampled_from(["age", "BYTES", "FP16", "BOOL", "data", "label"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every part of a JSON value stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, part in items for path in paths(part, (*prefix, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    result = copy.deepcopy(value)
    holder = result
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = new
    return result


def damaged(data: st.DataObject, value: Any) -> Any:
    """One to three parts replaced by anything."""
    for _ in range(data.draw(st.integers(1, 3))):
        value = replaced(value, data.draw(st.sampled_from(paths(value))), data.draw(JSON_VALUES))
    return value


def check(reply: Reply, num_rows_at_most: int = 4) -> None:
    if reply.status != 200:
        assert 400 <= reply.status < 500, reply
        assert json.loads(reply.body)["error"]
    elif "inference-header-content-length" not in reply.headers:
        answer = json.loads(reply.body)
        outputs = answer["outputs"] if isinstance(answer, dict) else []
        for output in outputs:
            assert None not in output["data"]
            assert len(output["data"]) == np.prod(output["shape"])
            assert 1 <= output["shape"][0] <= num_rows_at_most


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_json_requests(data: st.DataObject, table: Model) -> None:
    check(table.infer(damaged(data, table_request(outputs=[{"name": "label", "parameters": {"binary_data": False}}]))))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_records(data: st.DataObject, table: Model, image: Model) -> None:
    check(table.records(damaged(data, [RECORD, {**RECORD, "city": None}])))
    check(image.records(damaged(data, [{"image": [[[0, 1, 2, 3]] * 4]}])))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_binary_requests(data: st.DataObject, table: Model) -> None:
    request, blobs = binary_request()
    request = damaged(data, request) if data.draw(st.booleans()) else request
    raw = bytearray(blobs)
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.none() | st.integers(-5, 500) | st.text(max_size=4))
    check(table.infer_binary(request, bytes(raw[: data.draw(st.integers(0, len(raw)))]), length))


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), length=st.none() | st.integers(0, 200))
def test_any_bytes_at_all(body: bytes, length: int | None, table: Model) -> None:
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    check(table.ask("POST", "/infer", body, headers))
    check(table.ask("POST", "/predict", body))
