"""Valid requests: every form of the same rows gives the same numbers."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.tensors import NUMERIC_DTYPES, read_binary, read_json, write_binary
from tests.serving.asking import LENGTH, RECORD, Model, binary_request, table_request


def test_json_inference_echoes_and_answers_like_the_predictor(table: Model) -> None:
    reply = table.infer(table_request())
    answer = json.loads(reply.body)
    assert reply.status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "adult", "3")
    label, probabilities = answer["outputs"]
    expected = table.predictor.predict(
        {"age": np.array([39, np.nan]), "hours": np.array([40, 12]), "city": np.array(["Rome", None], dtype=object)}
    )
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": expected["label"].tolist()}
    assert probabilities["shape"] == [2, 2]
    np.testing.assert_array_equal(np.float32(probabilities["data"]), expected["probabilities"].ravel())


def test_nested_flat_and_column_shapes_mean_the_same(table: Model) -> None:
    request = table_request()
    request["inputs"][1].update(shape=[2], data=[40, 12])
    assert table.infer(request).body == table.infer(table_request()).body


def test_binary_tensors_both_ways(table: Model) -> None:
    request, blobs = binary_request()
    reply = table.infer_binary(request, blobs)
    size = int(reply.headers[LENGTH])
    label, probabilities = json.loads(reply.body[:size])["outputs"]
    label_size = label["parameters"]["binary_data_size"]
    raw = reply.body[size:]
    by_records = json.loads(table.records([{**RECORD, "hours": 40}]).body)[0]
    assert raw[:label_size] == len(by_records["label"]).to_bytes(4, "little") + by_records["label"].encode()
    assert probabilities["parameters"]["binary_data_size"] == len(raw) - label_size == 8
    np.testing.assert_array_equal(
        np.frombuffer(raw[label_size:], "<f4"), np.array(list(by_records["probabilities"].values()), np.float32)
    )


def test_outputs_are_chosen_in_order_and_form(table: Model) -> None:
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    reply = table.infer(table_request(outputs=wanted))
    probabilities, label = json.loads(reply.body[: int(reply.headers[LENGTH])])["outputs"]
    assert (probabilities["name"], label["name"]) == ("probabilities", "label")
    assert "data" in label
    only = json.loads(table.infer(table_request(outputs=[{"name": "label"}])).body)
    assert [output["name"] for output in only["outputs"]] == ["label"]


@pytest.mark.parametrize("body", [RECORD, [RECORD], {"records": [RECORD]}])
def test_records_in_each_form(body: Any, table: Model) -> None:
    (answer,) = json.loads(table.records(body).body)
    assert answer["label"] in answer["probabilities"]
    (expected,) = table.predictor.predict_records([RECORD])
    assert answer["label"] == expected["label"]
    assert {label: np.float32(p) for label, p in answer["probabilities"].items()} == expected["probabilities"]


def test_images_nested_flat_and_as_columns(image: Model) -> None:
    pixels = np.arange(16.0).reshape(1, 4, 4)
    flat = pixels.ravel().tolist()
    columns = {f"pixel_{i}": value for i, value in enumerate(flat)}
    answers = [image.records([record]).body for record in ({"image": pixels.tolist()}, {"image": flat}, columns)]
    tensors = [{"name": "image", "shape": shape, "datatype": "FP32", "data": flat} for shape in ([1, 1, 4, 4], [1, 16])]
    replies = [json.loads(image.infer({"inputs": [tensor]}).body) for tensor in tensors]
    assert answers[0] == answers[1] == answers[2]
    assert replies[0] == replies[1]
    (answer,) = json.loads(answers[0])
    assert list(answer["probabilities"].values()) == replies[0]["outputs"][1]["data"]


def test_regression_gives_predictions(regression: Model) -> None:
    (answer,) = json.loads(regression.records([{"age": 30, "hours": None}]).body)
    tensors = [
        {"name": "age", "shape": [1], "datatype": "INT8", "data": [30]},
        {"name": "hours", "shape": [1], "datatype": "FP16", "data": [None]},
    ]
    (output,) = json.loads(regression.infer({"inputs": tensors}).body)["outputs"]
    assert output == {"name": "prediction", "datatype": "FP32", "shape": [1], "data": [answer["prediction"]]}


def test_metadata_ready_and_head(table: Model) -> None:
    metadata = json.loads(table.ask("GET", "").body)
    assert metadata["versions"] == ["3"]
    assert metadata["inputs"][2] == {"name": "city", "datatype": "BYTES", "shape": [-1]}
    assert metadata["parameters"]["table"] == {}  # of a package without an experiment
    assert metadata["parameters"]["example"] == {"age": 25.0, "hours": 40.0, "city": "Rome"}
    assert table.ask("GET", "/versions/3").body == table.ask("HEAD", "/").body
    assert table.ask("GET", "/versions/3/ready").status == 200
    table.is_ready = False
    assert table.ask("GET", "/ready").status == 503
    table.is_ready = True


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_json_numbers_read_back_as_the_same_float32(numbers: list[float]) -> None:
    array = np.array(numbers, dtype=np.float32)
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    np.testing.assert_array_equal(read_json("x", "FP32", (len(numbers),), json.loads(text)).values, array)


@pytest.mark.parametrize("datatype", NUMERIC_DTYPES)
def test_every_numeric_datatype_means_the_same_in_json_and_binary(datatype: str) -> None:
    values: list[Any] = [True, False] if datatype == "BOOL" else [1, 100]
    raw = np.array(values).astype(NUMERIC_DTYPES[datatype]).tobytes()
    from_json = read_json("x", datatype, (2,), values).values
    np.testing.assert_array_equal(from_json, read_binary("x", datatype, (2,), memoryview(raw)).values)
    assert from_json.dtype == np.float32


@given(st.lists(st.text()))
def test_texts_survive_the_binary_form(texts: list[str]) -> None:
    array = np.array([*texts, "end"], dtype=object)[:-1]
    assert read_binary("x", "BYTES", (len(texts),), memoryview(write_binary(array))).values.tolist() == texts
