"""Every way to be wrong is refused with its reason, and none is answered."""

import json
from typing import Any

import pytest

from serving.errors import HTTP_STATUS, Overloaded, RequestError, WrongMethod
from serving.protocol.reply import error_reply
from tests.serving.asking import LENGTH, RECORD, Model, binary_request, error_of, table_request


def changed(index: int, **changes: Any) -> dict[str, Any]:
    """The valid request with one input changed; None removes a key."""
    request = table_request()
    merged = {**request["inputs"][index], **changes}
    request["inputs"][index] = {key: value for key, value in merged.items() if value is not ...}
    return request


def with_inputs(*inputs: Any) -> dict[str, Any]:
    return table_request(inputs=[*table_request()["inputs"], *inputs])


BAD_INFER: list[tuple[Any, str]] = [
    ([], "the body is a list"),
    ({}, "inputs is null"),
    ({"inputs": []}, "inputs is empty"),
    ({"inputs": [7]}, "inputs[0] is the number 7"),
    (table_request(id=42), "id is the number 42"),
    (table_request(parameters=[]), "parameters is a list"),
    (table_request(parameters={"binary_data_output": 1}), "binary_data_output is the number 1"),
    (table_request(inputs=table_request()["inputs"][:2]), "'city' is missing"),
    (with_inputs({"name": "agee", "shape": [2], "datatype": "FP32", "data": [1, 2]}), "nearest: 'age'"),
    (with_inputs(table_request()["inputs"][0]), "'age' stands more than once"),
    (changed(0, name=3), "inputs[0].name is the number 3"),
    (changed(0, datatype="FP8"), "datatype is the text 'FP8', expected one of BOOL"),
    (changed(0, datatype=...), "datatype is null"),
    (changed(0, datatype="BYTES", data=["a", "b"]), "datatype is BYTES, expected FP32 or another numeric"),
    (changed(2, datatype="FP32", data=[1, 2]), "datatype is FP32, expected BYTES"),
    (changed(0, shape="2"), "shape is the text '2', expected a list"),
    (changed(0, shape=[-2]), "shape is [-2], expected at most"),
    (changed(0, shape=[True, 2]), "expected at most"),
    (changed(0, shape=[2.0]), "expected at most"),
    (changed(0, shape=[1] * 9), "expected at most 8 sizes"),
    (changed(0, shape=[3]), "shape [3] takes 3 values, there are 2"),
    (changed(0, shape=[10**15]), "takes 1000"),
    (changed(0, shape=[]), "takes 1 values"),
    (changed(0, shape=[], data=[1]), "shape is [], expected [N] or [N, 1]"),
    (changed(0, shape=[1, 2]), "shape is [1, 2], expected [N] or [N, 1]"),
    (changed(0, shape=[0], data=[]), "the batch is empty"),
    (changed(0, shape=[1], data=[39]), "age has 1, hours has 2"),
    (changed(1, data=[[40], [12, 3]]), "not nested like [2, 1]"),
    (changed(1, data=[[40], 12]), "not nested like [2, 1]"),
    (changed(1, data=[[[40]], [[12]]]), "element 0 is a list"),
    (changed(0, data="39"), "is the text '39', expected a list"),
    (changed(0, data={"0": 39}), "is an object, expected a list"),
    (changed(0, data=[39, "40"]), "element 1 is the text '40', expected a number or null"),
    (changed(0, data=[39, True]), "element 1 is true, expected a number or null"),
    (changed(0, data=[39, [40]]), "element 1 is a list"),
    (changed(0, data=[39, 1e39]), "element 1 is 1e+39, beyond the range of FP64"),
    (changed(0, datatype="FP16", data=[39, 70000]), "element 1 is 70000, beyond the range of FP16"),
    (changed(1, datatype="UINT8", data=[40, -1]), "element 1 is -1, beyond the range of UINT8, 0 to 255"),
    (changed(1, datatype="INT64", data=[40, 2**63]), "beyond the range of INT64"),
    (changed(1, data=[40, 12.5]), "element 1 is the number 12.5, expected a whole number"),
    (changed(1, datatype="BOOL", data=[True, 1]), "element 1 is the number 1, expected true, false or null"),
    (changed(2, data=["Rome", True]), "element 1 is true, expected text or null"),
    (changed(2, data=["Rome", 5]), "element 1 is the number 5, expected text or null"),
    (changed(0, data=...), "needs either data or the parameter binary_data_size"),
    (changed(0, parameters={"binary_data_size": 8}), "needs either data or"),
    (changed(0, parameters=7), "parameters is the number 7"),
    (changed(0, data=..., parameters={"binary_data_size": -1}), "binary_data_size is the number -1"),
    (changed(0, data=..., parameters={"binary_data_size": True}), "binary_data_size is true"),
    (changed(0, data=..., parameters={"binary_data_size": 16}), "only 0 bytes follow"),
    (changed(0, parameters={"shared_memory_region": "r"}), "shared memory is not supported"),
    (table_request(outputs={"name": "label"}), "outputs is an object"),
    (table_request(outputs=["label"]), "outputs[0] asks for the text 'label'"),
    (table_request(outputs=[{"name": "lable"}]), "asks for the text 'lable', the model gives label, probabilities"),
    (table_request(outputs=[{"name": "label"}, {"name": "label"}]), "'label' stands more than once"),
    (
        table_request(outputs=[{"name": "label", "parameters": {"classification": 2}}]),
        "classification is not supported",
    ),
    (table_request(outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]), "binary_data is the text 'yes'"),
]


@pytest.mark.parametrize(("request_", "reason"), BAD_INFER, ids=range(len(BAD_INFER)))
def test_bad_inference_requests_name_what_is_wrong(request_: Any, reason: str, table: Model) -> None:
    assert reason in error_of(table.infer(request_))


BAD_RECORDS: list[tuple[Any, str]] = [
    ([], "the batch is empty"),
    ({"records": []}, "the batch is empty"),
    (3, "the body is the number 3, expected a list of records"),
    ([3], "record 0 is the number 3"),
    ([RECORD, {**RECORD, "age": "39"}], "column 'age': element 1 is the text '39'"),
    ([{**RECORD, "age": False}], "element 0 is false"),
    ([{**RECORD, "age": -1e300}], "beyond the range"),
    ([{**RECORD, "city": 7}], "column 'city': element 0 is the number 7"),
    ([{**RECORD, "City": "Oslo"}], "record 0: column 'City' is not one of the model's (nearest: 'city')"),
    ([RECORD, {"age": 1, "city": None}], "record 1: column 'hours' is missing"),
]


@pytest.mark.parametrize(("body", "reason"), BAD_RECORDS, ids=range(len(BAD_RECORDS)))
def test_bad_records_name_what_is_wrong(body: Any, reason: str, table: Model) -> None:
    assert reason in error_of(table.records(body))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1] * 15, "takes 16 values, there are 15"),
        ([[[1] * 4] * 3], "not nested like [1, 4, 4]"),
        ([None] * 16, "no missing pixels"),
        (7, "is the number 7, expected a list"),
        (["1"] * 16, "is the text '1'"),
    ],
)
def test_bad_images_are_refused(value: Any, reason: str, image: Model) -> None:
    assert reason in error_of(image.records([{"image": value}]))


def test_an_image_tensor_has_its_own_shape(image: Model) -> None:
    tensor = {"name": "image", "shape": [1, 4, 4], "datatype": "FP32", "data": [0] * 16}
    assert "shape is [1, 4, 4], expected [N, 1, 4, 4] or [N, 16]" in error_of(image.infer({"inputs": [tensor]}))


@pytest.mark.parametrize("length", ["-1", "x", "", "1e2", "9" * 30, "100000", "٣"])
def test_a_wrong_header_length_is_refused(length: str, table: Model) -> None:
    request, blobs = binary_request()
    reply = table.infer_binary(request, blobs, length)
    assert reply.status == 400
    assert "Inference-Header-Content-Length is" in error_of(reply)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda blobs: blobs[:-1], "only 7 bytes follow the JSON part"),
        (lambda blobs: blobs + b"x", "1 bytes of binary data belong to no input"),
        (lambda blobs: blobs.replace(b"\x04\x00\x00\x00", b"\x05\x00\x00\x00"), "the bytes end within element 0"),
        (lambda blobs: blobs.replace(b"\x04\x00\x00\x00", b"\xff\xff\xff\xff"), "the bytes end within element 0"),
        (lambda blobs: blobs.replace(b"\x04\x00\x00\x00Rome", b"\x00" * 8), "takes 1 elements, its bytes hold 2"),
        (lambda blobs: blobs.replace(b"Rome", b"\xffome"), "element 0 is not UTF-8"),
        (lambda blobs: b"\x00\x00\x00\x00\x00\x00\xf0\x7f" + blobs[8:], "element 0 is inf, beyond the range"),
    ],
)
def test_binary_parts_that_do_not_add_up_are_refused(broken: Any, reason: str, table: Model) -> None:
    request, blobs = binary_request()
    assert reason in error_of(table.infer_binary(request, broken(blobs)))


def test_a_binary_size_that_differs_from_the_shape_is_refused(table: Model) -> None:
    request, blobs = binary_request()
    request["inputs"][0]["shape"] = [2]
    assert "binary_data_size is 8, FP64 of shape [2] takes 16 bytes" in error_of(table.infer_binary(request, blobs))


def test_nan_in_a_binary_image_is_refused(image: Model) -> None:
    tensor = {"name": "image", "shape": [1, 16], "datatype": "FP32", "parameters": {"binary_data_size": 64}}
    assert "no missing pixels" in error_of(image.infer_binary({"inputs": [tensor]}, b"\x00\x00\xc0\x7f" * 16))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[NaN]", b"[" * 100_000, b'{"inputs": [1e999]}', b"\x00"])
@pytest.mark.parametrize("action", ["/infer", "/predict"])
def test_what_is_not_json_is_refused(body: bytes, action: str, table: Model) -> None:
    assert error_of(table.ask("POST", action, body))  # the reason; error_of itself refuses anything but a 4xx


def test_compressed_bodies_are_refused_by_name(table: Model) -> None:
    reply = table.ask("POST", "/infer", b"\x1f\x8b", {"content-encoding": "gzip"})
    assert reply.status == 415
    assert "gzip" in error_of(reply)


def test_wrong_methods_and_paths(table: Model) -> None:
    for method, action, allowed in [("GET", "/infer", "POST"), ("DELETE", "", "GET"), ("PUT", "/ready", "GET")]:
        reply = table.ask(method, action)
        assert (reply.status, reply.headers["Allow"]) == (405, allowed)
        error_of(reply)
    unknown = table.ask("GET", "/versions/9/ready")
    assert unknown.status == 404
    assert "no version '9' of adult; adult is served in version 3" in error_of(unknown)
    assert "/v2/models/adult/infer" in error_of(table.ask("POST", "/inferr"))


def test_every_request_error_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(RequestError.__subclasses__())
    assert all(400 <= status < 500 or status == 503 for status in HTTP_STATUS.values())


def test_errors_carry_their_headers() -> None:
    assert error_reply(Overloaded("full", 2)).headers["Retry-After"] == "2"
    assert error_reply(WrongMethod("no", "GET")).headers["Allow"] == "GET"


def test_a_mistake_of_ours_is_500_and_says_nothing_of_others(table: Model, caplog: pytest.LogCaptureFixture) -> None:
    broken = Model(table.predictor.package.folder)
    broken.predictor = None  # type: ignore[assignment]  # stands for a defect inside
    reply = broken.records([RECORD])
    assert reply.status == 500
    assert json.loads(reply.body) == {"error": "the server failed to answer; its log says why"}
    assert "a request failed" in caplog.text
    assert LENGTH not in reply.headers
