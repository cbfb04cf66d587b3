"""Each number format of each kind of model: close to fp32, or a reason that a person can read."""

import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.training.compress.forms.made import MODELS, few, made
from training.compress.errors import NotMade
from training.compress.forms.files import save_onnx
from training.compress.forms.make import FORMS, make_onnx_form
from training.compress.forms.weights import weights_quantized_fraction
from training.package.runtime import VariantRunner

CLOSE = {"int8": 0.02, "int8_static": 0.02, "int4": 0.1, "fp16": 0.004}
SMALLER = {"int8": 0.6, "int8_static": 0.6, "int4": 0.6, "fp16": 0.6}
NO_PRODUCT = "it has no matrix product with 16,384 constant weights or more"
REASONS = {("resnet", "int8"): NO_PRODUCT, ("resnet", "int4"): NO_PRODUCT}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_form_is_smaller_and_close_to_fp32_and_no_row_minds_its_company(kind: str, form: str, tmp_path: Path) -> None:
    model, target = made(kind), tmp_path / "form.onnx"
    if (kind, form) in REASONS:
        with pytest.raises(NotMade) as caught:
            make_onnx_form(form, model.fp32, target, model.rows)
        assert caught.value.message == REASONS[kind, form]
        assert list(tmp_path.iterdir()) == []
        return
    make_onnx_form(form, model.fp32, target, model.rows)
    runner = VariantRunner(target)
    scores = runner(model.rows)
    assert scores.dtype == np.float32
    assert 0 < np.abs(scores - model.scores).max() < CLOSE[form]
    alone = np.concatenate([runner({name: values[i : i + 1] for name, values in model.rows.items()}) for i in range(9)])
    np.testing.assert_allclose(alone, scores[:9], atol=2e-6)
    assert target.stat().st_size < SMALLER[form] * model.fp32.stat().st_size
    assert weights_quantized_fraction(target) > 0.6
    assert list(tmp_path.iterdir()) == [target]


def graph_of(weight: np.ndarray, tmp_path: Path) -> Path:
    """scores = relu(numeric @ weight) @ ones."""
    ones = np.ones((weight.shape[1], 2), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["numeric", "w"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["kept"]),
            helper.make_node("MatMul", ["kept", "ones"], ["scores"]),
        ],
        "two products",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", weight.shape[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(ones, "ones")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "source.onnx")
    return tmp_path / "source.onnx"


def test_answers_that_are_no_numbers_are_seen_at_once(tmp_path: Path) -> None:
    source = graph_of(np.full((128, 128), 3e38, np.float32), tmp_path)
    rows = {"numeric": np.ones((3, 128), np.float32)}
    with pytest.raises(NotMade, match="it answers 6 of 6 scores with no number"):
        make_onnx_form("int8", source, tmp_path / "int8.onnx", rows)
    assert list(tmp_path.iterdir()) == [source]


def test_fp16_names_a_weight_that_it_cannot_hold(tmp_path: Path) -> None:
    source = graph_of(np.array([[1.0, 7e4]], np.float32), tmp_path)
    with pytest.raises(NotMade, match="w holds 7e\\+04, and fp16 ends at 65504"):
        make_onnx_form("fp16", source, tmp_path / "half.onnx", {"numeric": np.ones((3, 1), np.float32)})


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_no_model_is_said_to_be_none(form: str, tmp_path: Path) -> None:
    (tmp_path / "source.onnx").write_bytes(b"no model")
    with pytest.raises(NotMade, match="ONNX Runtime cannot prepare it: ") as caught:
        make_onnx_form(form, tmp_path / "source.onnx", tmp_path / "form.onnx", {"numeric": np.ones((3, 2), np.float32)})
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == [tmp_path / "source.onnx"]


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    model = onnx.load(made("mlp").fp32)
    target = tmp_path / "form.onnx"
    target.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_onnx(model, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_what_the_checker_or_the_runtime_refuses_is_not_written(tmp_path: Path) -> None:
    unsorted, unknown = onnx.load(made("mlp").fp32), onnx.load(made("mlp").fp32)
    nodes = list(unsorted.graph.node)[::-1]
    del unsorted.graph.node[:]
    unsorted.graph.node.extend(nodes)
    with pytest.raises(NotMade, match="onnx refuses it: ValidationError: Nodes in a graph must be topologically"):
        save_onnx(unsorted, tmp_path / "a.onnx")
    unknown.graph.node[0].domain = "nobody.knows"
    unknown.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    with pytest.raises(NotMade, match="ONNX Runtime does not load it: ") as caught:
        save_onnx(unknown, tmp_path / "a.onnx")
    assert str(tmp_path) not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_static_int8_of_rows_seen_answers_rows_never_seen(tmp_path: Path) -> None:
    model = made("mlp")
    make_onnx_form("int8_static", model.fp32, tmp_path / "form.onnx", few(model.rows, 16))
    far = {name: values * 50 if name == "numeric" else values for name, values in model.rows.items()}
    scores = VariantRunner(tmp_path / "form.onnx")(far)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
