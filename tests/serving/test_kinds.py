"""Dates, texts and images as clients send them: the same answers by every road, and what cannot be read is named."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.client import _tensor
from serving.errors import BadInput, NoKey
from serving.predictor import Predictor
from tests.kinds import config, png, table, write_package_of_kinds
from tests.serving.asking import Model, error_of
from tests.serving.test_fuzz import check, damaged
from training.package.errors import PackageError
from training.package.pii import Pseudonymiser
from training.package.transforms import inputs_from_table

KEY = b"sixteen bytes or more"
RAW_NAMES = ["Ada Example", "Bob Sample"]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A column of every kind."""
    folder = tmp_path_factory.mktemp("kinds") / "package"
    write_package_of_kinds(folder, table(), config())
    return Model(folder, "kinds")


@pytest.fixture(scope="module")
def hashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that knows people by pseudonyms."""
    folder, pseudonymiser = tmp_path_factory.mktemp("hashed") / "package", Pseudonymiser(KEY)
    names = pseudonymiser.column(pa.array(RAW_NAMES * 10))
    rows = pa.table({"who": names, "n": np.arange(20.0), "y": ["u", "v"] * 10})
    data = config(columns={}, image_shape=None, pii={"who": "hash"})
    write_package_of_kinds(folder, rows, data, pseudonymiser.key_check())
    return folder


def records(model: Model, num_rows: int = 16) -> list[dict[str, Any]]:
    """The golden rows as a client would send them."""
    golden = model.predictor.package.golden.inputs
    return [{name: values[row] for name, values in golden.items()} for row in range(num_rows)]


def probabilities(answers: list[dict[str, Any]]) -> np.ndarray:
    return np.array([list(answer["probabilities"].values()) for answer in answers], np.float32)


def request(inputs: dict[str, np.ndarray], binary: bool) -> tuple[dict[str, Any], bytes]:
    """What `serving.client` sends for these arrays."""
    tensors = [_tensor(name, values, binary) for name, values in inputs.items()]
    described = orjson.loads(orjson.dumps([tensor for tensor, _ in tensors]))  # writes NaN as null
    return {"inputs": described}, b"".join(blob for _, blob in tensors)


def test_records_tensors_tables_and_training_agree_on_the_golden_rows(kinds: Model) -> None:
    package = kinds.predictor.package
    expected = np.array(package.golden.outputs["fp32"]["probabilities"], np.float32)
    by_records = probabilities(json.loads(kinds.records(records(kinds)).body))
    np.testing.assert_array_equal(by_records, expected)
    rows = pa.table(
        {name: values for name, values in package.golden.inputs.items() if name not in ("since", "born", "photo")}
    )
    files = [base64.b64decode(text) for text in package.golden.inputs["photo"]]
    since = pa.array(package.golden.arrays(package.manifest.inputs)["since"])
    born = [None if text is None else "{2}.{1}.{0}".format(*text.split("-")) for text in package.golden.inputs["born"]]
    rows = rows.append_column("since", since).append_column("born", pa.array(born)).append_column("photo", [files])
    by_table = kinds.predictor.predict_table(rows)
    np.testing.assert_array_equal(np.float32(by_table["probability_v"].to_pylist()), expected[:, 1])
    inputs = inputs_from_table(rows, package.manifest.inputs)
    for binary in (True, False):
        described, blobs = request(inputs, binary)
        reply = kinds.infer_binary(described, blobs) if binary else kinds.infer(described)
        (_, output) = json.loads(reply.body)["outputs"]
        np.testing.assert_array_equal(np.float32(output["data"]).reshape(-1, 2), expected)


def test_raw_rows_of_the_table_are_answered_as_they_are_over_http(kinds: Model) -> None:
    """Also those with missing values, and photos of other sizes and modes than training had."""
    rows = table(num_rows=12, seed=5)
    photos = [png(i, (5 + 3 * i, 40 - i), mode) for i, mode in enumerate(["RGB", "L", "1", "P"] * 3)]
    rows = rows.set_column(rows.column_names.index("photo"), "photo", [photos])
    by_table = kinds.predictor.predict_table(rows)["probability_v"].to_pylist()
    described, blobs = request(
        {**inputs_from_table(rows, kinds.predictor.manifest.inputs), "photo": np.array(photos, object)}, True
    )
    (_, output) = json.loads(kinds.infer_binary(described, blobs).body)["outputs"]
    np.testing.assert_array_equal(np.float32(output["data"][1::2]), np.float32(by_table))


def test_an_image_may_come_as_a_file_as_base64_or_as_pixels(kinds: Model) -> None:
    (record,) = records(kinds, 1)
    file = base64.b64decode(record["photo"])
    pixels = kinds.predictor.package.golden.arrays(kinds.predictor.manifest.inputs)["photo"][0]
    forms = [record["photo"], pixels.tolist(), pixels.ravel().tolist()]
    answers = [kinds.records([{**record, "photo": form}]).body for form in forms]
    assert answers[0] == answers[1] == answers[2]
    assert json.loads(kinds.records([record, {**record, "photo": forms[1]}]).body)[1] == json.loads(answers[0])[0]
    tensors = [
        _tensor("photo", values, binary)[0]["datatype"] for values in ([file], pixels[None]) for binary in (0, 1)
    ]
    assert tensors == ["BYTES", "BYTES", "UINT8", "UINT8"]


def changed(model: Model, **values: Any) -> dict[str, Any]:
    return {**records(model, 1)[0], **values}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"since": "yesterday"}, "column 'since': element 1 is 'yesterday', expected a date in ISO 8601 such as"),
        ({"since": 1700000000}, "column 'since': element 1 is the number 1700000000, expected text or null"),
        ({"born": "2020-13-01"}, "column 'born': element 1 is '2020-13-01', expected a date in ISO 8601"),
        ({"born": "x" * 100}, "is a text of 100 characters, expected a date"),
        ({"title": ["a"]}, "column 'title': element 1 is a list, expected text or null"),
        ({"photo": "no base64"}, "column 'photo': element 1 is not base64"),
        ({"photo": base64.b64encode(b"GIF89a").decode()}, "column 'photo': element 1 is not an image that can be read"),
        ({"photo": None}, "record 1: 'photo' is null, expected an image file in base64"),
        ({"photo": [1, 2]}, "record 1: 'photo': shape [3, 6, 5] takes 90 values, there are 2"),
    ],
)
def test_what_cannot_be_read_is_named(change: dict[str, Any], reason: str, kinds: Model) -> None:
    assert reason in error_of(kinds.records([changed(kinds), changed(kinds, **change)]))


def test_tensors_that_cannot_be_read_are_named(kinds: Model) -> None:
    inputs = inputs_from_table(table(2), kinds.predictor.manifest.inputs)

    def error(name: str, values: Any, **more: Any) -> str:
        described, blobs = request({**inputs, name: values}, binary=True)
        (tensor,) = [tensor for tensor in described["inputs"] if tensor["name"] == name]
        tensor.update(more)
        return error_of(kinds.infer_binary(described, blobs))

    assert "input 'since': element 1 is 'soon'" in error("since", ["2024-01-01", "soon"])
    assert "input 'since': datatype is FP32, expected BYTES" in error("since", np.zeros(2, np.float32))
    assert "input 'photo': element 0 is not an image" in error("photo", [b"\xff\xfe", png(0)])
    assert "input 'photo': shape is [1, 2], expected [N] or [N, 1]" in error("photo", [png(0)] * 2, shape=[1, 2])
    assert "expected [N, 3, 6, 5] or [N, 90]" in error("photo", np.zeros((2, 5), np.float32))
    assert "no missing pixels" in error("photo", np.full((2, 90), np.nan, np.float32))


def test_small_files_that_unpack_to_gigabytes_are_refused_together(kinds: Model) -> None:
    buffer = io.BytesIO()
    Image.new("1", (6000, 6000)).save(buffer, "PNG")
    bomb = buffer.getvalue()
    assert len(bomb) < 10_000
    reply = kinds.records([changed(kinds, photo=base64.b64encode(bomb).decode())] * 6)
    assert "its images have 216,000,000 pixels together, at most 200,000,000" in error_of(reply)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("since", ["soon"], r"column since: row 0 \(the first is 0\) is 'soon', expected a date"),
        ("born", ["2020-01-05"], r"column born: row 0 .* expected a date of the form %d\.%m\.%Y"),
        ("photo", [b"?"], "column photo: row 0 .* is not an image"),
    ],
)
def test_bad_tables_are_refused(column: str, values: list[Any], reason: str, kinds: Model) -> None:
    rows = table(2).slice(0, 1)
    with pytest.raises(BadInput, match=reason):
        kinds.predictor.predict_table(rows.set_column(rows.column_names.index(column), column, [values]))


def test_metadata_says_how_each_kind_is_sent(kinds: Model) -> None:
    metadata = json.loads(kinds.ask("GET", "").body)
    sent = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in metadata["inputs"]}
    assert sent["since"] == sent["review"] == sent["photo"] == ("BYTES", [-1])
    hints = metadata["parameters"]["inputs"]
    assert hints["photo"]["shape"] == [3, 6, 5]
    assert (hints["born"]["kind"], hints["born"]["format"]) == ("date", "%d.%m.%Y")
    assert kinds.records([metadata["parameters"]["example"]]).status == 200


def test_raw_personal_data_needs_the_key_of_training(hashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, pseudonyms = ([{"who": who, "n": 3.0} for who in names] for names in (
        RAW_NAMES, [Pseudonymiser(KEY).text(name) for name in RAW_NAMES],
    ))  # fmt: skip
    monkeypatch.delenv("MANTA_PII_KEY", raising=False)
    without = Model(hashed, "people")
    without.predictor.self_test()
    expected = without.predictor.predict_records(pseudonyms)
    assert expected[0] != expected[1]
    reply = without.records(raw)
    assert reply.status == 503
    assert "'who' is personal data" in json.loads(reply.body)["error"]
    assert RAW_NAMES[0] not in reply.body.decode()
    with pytest.raises(NoKey):
        without.predictor.predict_records(raw)
    monkeypatch.setenv("MANTA_PII_KEY", KEY.decode())
    assert Predictor.load(hashed).predict_records(raw) == expected


def test_the_key_may_come_in_a_file_and_a_wrong_one_is_refused(
    hashed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTA_PII_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(PackageError, match="cannot be read"):
        Predictor.load(hashed)
    (tmp_path / "key").write_bytes(KEY + b"\n")
    Predictor.load(hashed).predict_records([{"who": RAW_NAMES[0], "n": 1.0}])
    (tmp_path / "key").write_bytes(b"quite another key of bytes")
    with pytest.raises(PackageError, match="another than in training"):
        Predictor.load(hashed)


def test_no_raw_value_stands_in_the_package(hashed: Path) -> None:
    files = [path for path in hashed.rglob("*") if path.is_file()]
    assert len(files) > 4
    for path in files:
        assert b"Example" not in path.read_bytes(), path


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_records_and_tensors_are_answered_or_refused(data: st.DataObject, kinds: Model) -> None:
    check(kinds.records(damaged(data, records(kinds, 2))))
    inputs = inputs_from_table(table(2), kinds.predictor.manifest.inputs)
    described, blobs = request({**inputs, "photo": np.array([png(0), png(1)], object)}, binary=data.draw(st.booleans()))
    raw = bytearray(blobs or b"-")
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check(kinds.infer_binary(described, bytes(raw) if blobs else b""))
