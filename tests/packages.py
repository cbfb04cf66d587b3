"""Tiny real packages: an ONNX model of a few weights, transforms, golden rows. Written in milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.package.golden import Golden
from training.package.manifest import (
    FORMAT_VERSION,
    GOLDEN_FILE,
    TRANSFORMS_FILE,
    InputSpec,
    Latency,
    Lineage,
    Manifest,
    OutputSpec,
    Variant,
)
from training.package.runtime import VariantRunner
from training.package.transforms import (
    CategoricalTransform,
    FeatureEncoder,
    ImageTransform,
    NumericTransform,
    Transforms,
)
from training.package.write import write_package

TABLE_INPUTS = (
    InputSpec(name="age", kind="numeric", datatype="FP32", minimum=17.0, maximum=90.0),
    InputSpec(name="hours", kind="numeric", datatype="FP32", minimum=1.0, maximum=99.0),
    InputSpec(name="city", kind="categorical", datatype="BYTES", categories=("Rome", "Oslo", "São Paulo")),
)
TABLE_TRANSFORMS = Transforms(
    numeric=(
        NumericTransform(name="age", fill=38.0, mean=38.6, scale=13.6),
        NumericTransform(name="hours", fill=40.0, mean=40.4, scale=12.3),
    ),
    categorical=(CategoricalTransform(name="city", vocabulary=("Rome", "Oslo", "São Paulo")),),
)
TABLE_ROWS: dict[str, list[Any]] = {
    "age": [25.0, None, 61.0],
    "hours": [40.0, 12.5, 55.0],
    "city": ["Rome", "Atlantis", None],
}
IMAGE_SHAPE = (1, 4, 4)


@dataclass(frozen=True)
class Recipe:
    """What one package is made of."""

    name: str
    labels: tuple[str, ...]  # empty: a regression
    inputs: tuple[InputSpec, ...]
    transforms: Transforms
    rows: dict[str, list[Any]]
    graphs: dict[str, onnx.ModelProto]


def write_table_package(
    folder: Path, *, bias: float = 0.25, name: str = "adult", extra: Mapping[str, bytes] | None = None
) -> Manifest:
    """Two numeric columns and a categorical one to two classes, as variants fp32 (chosen) and int8.

    `extra` are further files, by their path inside the package.
    """
    graphs = {variant: _table_graph(bias + shift) for variant, shift in (("fp32", 0.0), ("int8", 0.01))}
    return _write(folder, Recipe(name, ("no", "yes"), TABLE_INPUTS, TABLE_TRANSFORMS, TABLE_ROWS, graphs), extra)


def write_quantized_package(folder: Path, *, name: str = "adult") -> Manifest:
    """The same columns to two classes, as fp32 (chosen) and as an int8 that rounds weights and activations."""
    graphs = {"fp32": _table_graph(0.25), "int8": quantized_table_graph()}
    return _write(folder, Recipe(name, ("no", "yes"), TABLE_INPUTS, TABLE_TRANSFORMS, TABLE_ROWS, graphs))


def write_image_package(folder: Path, *, name: str = "digits") -> Manifest:
    """A 1x4x4 image to three classes."""
    spec = InputSpec(
        name="image", kind="image", datatype="FP32", shape=IMAGE_SHAPE, minimum=0.0, maximum=16.0,
        columns=tuple(f"pixel_{i}" for i in range(16)), nullable=False,
    )  # fmt: skip
    transforms = Transforms(image=ImageTransform(name="image", shape=IMAGE_SHAPE, mean=5.0, scale=6.0))
    rows = {"image": np.random.default_rng(0).integers(0, 17, (3, *IMAGE_SHAPE)).astype(np.float32).tolist()}
    return _write(folder, Recipe(name, ("0", "1", "2"), (spec,), transforms, rows, {"fp32": _image_graph()}))


def write_regression_package(folder: Path, *, name: str = "diabetes") -> Manifest:
    """Two numeric columns to one number."""
    rows = {key: TABLE_ROWS[key] for key in ("age", "hours")}
    transforms = Transforms(numeric=TABLE_TRANSFORMS.numeric)
    return _write(folder, Recipe(name, (), TABLE_INPUTS[:2], transforms, rows, {"fp32": _regression_graph()}))


def _write(folder: Path, recipe: Recipe, extra: Mapping[str, bytes] | None = None) -> Manifest:
    folder.parent.mkdir(parents=True, exist_ok=True)
    golden = Golden(
        labels=recipe.labels,
        inputs=recipe.rows,
        outputs={variant: _answers(recipe, graph, folder.parent) for variant, graph in recipe.graphs.items()},
    )
    files: dict[str, bytes | Path] = {
        TRANSFORMS_FILE: recipe.transforms.model_dump_json().encode(),
        GOLDEN_FILE: golden.model_dump_json().encode(),
        **{f"variants/{variant}.onnx": graph.SerializeToString() for variant, graph in recipe.graphs.items()},
        **(extra or {}),
    }
    return write_package(folder, _manifest(recipe), files)


def _manifest(recipe: Recipe) -> Manifest:
    outputs: tuple[OutputSpec, ...] = (OutputSpec(name="prediction", datatype="FP32"),)
    if recipe.labels:
        outputs = (
            OutputSpec(name="label", datatype="BYTES"),
            OutputSpec(name="probabilities", datatype="FP32", shape=(len(recipe.labels),)),
        )
    return Manifest(
        format_version=FORMAT_VERSION,
        name=recipe.name,
        created_at="2026-01-02T03:04:05+00:00",
        task="classification" if recipe.labels else "regression",
        labels=recipe.labels,
        inputs=recipe.inputs,
        outputs=outputs,
        metric="test/accuracy" if recipe.labels else "test/rmse",
        metric_mode="max" if recipe.labels else "min",
        variants=tuple(_variant(variant, graph) for variant, graph in recipe.graphs.items()),
        chosen="fp32",
        chosen_reason="the only one measured",
        lineage=Lineage(run=recipe.name, data_fingerprint="0" * 64),
        sha256={},
    )


def _variant(name: str, graph: onnx.ModelProto) -> Variant:
    return Variant(
        name=name,
        file=f"variants/{name}.onnx",
        size_bytes=graph.ByteSize(),
        metrics={"test/accuracy": 0.9, "test/rmse": 1.5},
        latency={"1": Latency(p50_ms=0.1, p99_ms=0.2)},
        weights_quantized_fraction=0.0,
        tolerance=1e-4,
        offered=True,
    )


def _answers(recipe: Recipe, graph: onnx.ModelProto, near: Path) -> dict[str, list[Any]]:
    path = near / "scratch.onnx"
    onnx.save(graph, path)
    inputs = Golden(inputs=recipe.rows, outputs={}).arrays(recipe.inputs)
    scores = VariantRunner(path)(FeatureEncoder(recipe.transforms)(inputs))
    path.unlink()
    if not recipe.labels:
        return {"prediction": scores.tolist()}
    return {"label": [recipe.labels[i] for i in scores.argmax(axis=1)], "probabilities": scores.tolist()}


def _table_graph(bias: float) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["numeric", "w"], ["from_numeric"]),
        helper.make_node("Cast", ["categorical"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["codes", "v"], ["from_codes"]),
        helper.make_node("Sum", ["from_numeric", "from_codes", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    weights = {"w": [[0.9, -0.7], [0.4, -0.2]], "v": [[0.3, -0.1]], "b": [bias, -bias]}
    inputs = {"numeric": (TensorProto.FLOAT, [2]), "categorical": (TensorProto.INT64, [1])}
    return _model(nodes, inputs, weights, [2])


def quantized_table_graph(cut: float = 1.0) -> onnx.ModelProto:
    """The table's model with activations in 8 bits; a scale that is cut lets them saturate."""
    steps = {"numeric": 0.02, "w": 0.01}
    nodes = [
        helper.make_node("QuantizeLinear", ["numeric", "numeric_step", "numeric_zero"], ["numeric_8"]),
        helper.make_node("DequantizeLinear", ["numeric_8", "numeric_step", "numeric_zero"], ["numeric_32"]),
        helper.make_node("DequantizeLinear", ["w_8", "w_step", "w_zero"], ["w_32"]),
        helper.make_node("MatMul", ["numeric_32", "w_32"], ["from_numeric"]),
        helper.make_node("Cast", ["categorical"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["codes", "v"], ["from_codes"]),
        helper.make_node("Sum", ["from_numeric", "from_codes", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    inputs = {"numeric": (TensorProto.FLOAT, [2]), "categorical": (TensorProto.INT64, [1])}
    weights = {"v": [[0.3, -0.1]], "b": [0.25, -0.25], "numeric_step": steps["numeric"] * cut, "w_step": steps["w"]}
    model = _model(nodes, inputs, weights, [2])
    whole = np.round(np.array([[0.9, -0.7], [0.4, -0.2]]) / steps["w"]).astype(np.int8)
    for value, known_as in ((whole, "w_8"), (np.int8(0), "w_zero"), (np.uint8(128), "numeric_zero")):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), known_as))
    return model


def _image_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    weights = {"w": np.random.default_rng(1).normal(size=(16, 3)).round(3).tolist()}
    return _model(nodes, {"image": (TensorProto.FLOAT, list(IMAGE_SHAPE))}, weights, [3])


def _regression_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["numeric", "w"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["centred"]),
        helper.make_node("Add", ["centred", "b"], ["scores"]),
    ]
    model = _model(nodes, {"numeric": (TensorProto.FLOAT, [2])}, {"w": [[3.0], [-2.0]], "b": [150.0]}, [])
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"))
    return model


def _model(
    nodes: list[onnx.NodeProto], inputs: Mapping[str, tuple[int, list[int]]], weights: dict[str, Any], out: list[int]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, dtype, ["N", *shape]) for name, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", *out])],
        [numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in weights.items()],
    )
    # IR 8 and opset 17 are read by every onnxruntime in the pinned range; onnx would write its newest.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
