"""A table with a column of every kind, and a tiny package that takes all of them."""

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from training.compress.job import CompressResult
from training.config import Experiment
from training.data.config import DataConfig
from training.data.table import infer_schema
from training.features import fit_transforms
from training.package.machine import this_machine
from training.package.manifest import Comparison, Cost, Latency, Lineage, Manifest, Variant
from training.package.transforms import FeatureEncoder, encoder_inputs
from training.packing import Contents, build_package, pick_golden_rows

NUM_ROWS = 60
IMAGE_SHAPE = (3, 6, 5)
COLUMNS: dict[str, Any] = {
    "height": {"kind": "numeric", "scale": "robust", "clip": [0.05, 0.95], "indicator": True},
    "price": {"kind": "numeric", "log": True, "fill": 0.0},
    "rank": {"kind": "numeric", "scale": "quantile"},
    "raw": {"kind": "numeric", "scale": "none", "fill": "mean"},
    "size": {"kind": "categorical", "encode": "one_hot", "max_categories": 2},
    "since": {"kind": "date", "parts": ["year", "month", "day_of_year", "hour", "timestamp"]},
    "born": {"kind": "date", "format": "%d.%m.%Y"},
    "review": {"kind": "text", "tokens": "vocabulary", "num_tokens": 8, "max_tokens": 5},
    "title": {"kind": "text", "num_tokens": 16, "max_tokens": 3},
}


def config(**more: Any) -> DataConfig:
    """Every kind, with other settings than the usual ones."""
    return DataConfig.model_validate(
        {"source": "t", "target": "y", "columns": COLUMNS, "image_shape": IMAGE_SHAPE, **more}
    )


def png(seed: int, size: tuple[int, int] = (9, 7), mode: str = "RGB") -> bytes:
    """A file of noise, of this width and height."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def table(num_rows: int = NUM_ROWS, seed: int = 0) -> pa.Table:
    """Rows with gaps in every column that may have them."""
    rng = np.random.default_rng(seed)
    words = ["good", "bad", "Größe", "café", "x1", "it's", "42", "fine"]

    def gaps(values: list[Any], every: int = 7) -> list[Any]:
        return [None if i % every == 3 else value for i, value in enumerate(values)]

    days = [datetime(2020, 1, 1 + i % 28, i % 24) for i in range(num_rows)]
    return pa.table(
        {
            "height": gaps(rng.normal(170, 10, num_rows).tolist()),
            "price": gaps(rng.lognormal(5, 2, num_rows).tolist()),
            "rank": gaps(rng.exponential(1, num_rows).tolist()),
            "raw": gaps(rng.integers(0, 9, num_rows).tolist()),
            "city": gaps(rng.choice(["Rome", "Oslo", "São Paulo"], num_rows).tolist()),
            "size": gaps(rng.choice(["s", "m", "l", "xl"], num_rows).tolist()),
            "since": pa.array(gaps(days), pa.timestamp("us")),
            "born": gaps([day.strftime("%d.%m.%Y") for day in days]),
            "review": gaps([" ".join(rng.choice(words, 6)) for _ in range(num_rows)]),
            "title": gaps([" ".join(rng.choice(words, 2)) for _ in range(num_rows)]),
            "photo": [png(i, mode="L" if i % 5 else "RGB") for i in range(num_rows)],
            "y": ["u", "v"] * (num_rows // 2),
        }
    )


def write_package_of_kinds(folder: Path, rows: pa.Table, data: DataConfig, hash_key_check: str = "") -> Manifest:
    """Fitted on the rows; its model is one linear layer over everything."""
    schema = infer_schema(rows, data)
    transforms, inputs = fit_transforms(rows, schema, data, hash_key_check)
    tensors = FeatureEncoder(transforms)(encoder_inputs(rows, inputs))
    variant = Variant(
        name="fp32", file="variants/fp32.onnx", size_bytes=1, metrics={"test/accuracy": 0.5},
        latency={"1": Latency(p50_ms=0.1, p99_ms=0.2)}, weights_quantized_fraction=0.0, tolerance=1e-5, offered=True,
    )  # fmt: skip
    model = _linear(tensors)
    golden_rows = pick_golden_rows(rows, inputs)
    content = {variant.file: model.SerializeToString()}
    runner = ort.InferenceSession(content[variant.file])
    golden = runner.run(None, FeatureEncoder(transforms)(golden_rows))[0]
    compressed = CompressResult(
        (variant,), "fp32", "the only one", _comparison(variant), content, {"fp32": golden}, {"fp32": golden}
    )
    contents = Contents(
        experiment=Experiment.model_validate({"name": "kinds", "data": data.model_dump(exclude_unset=True)}),
        task="classification", labels=schema.labels, inputs=inputs, transforms=transforms,
        compressed=compressed, golden_rows=golden_rows, weights={},
        metric="test/accuracy", metric_mode="max", lineage=Lineage(run="kinds", data_fingerprint="abc"),
    )  # fmt: skip
    return build_package(folder, contents)


def _comparison(variant: Variant) -> Comparison:
    return Comparison(
        at="2026-01-01T00:00:00+00:00", machine=this_machine(), target="cpu", objective="latency_p99", batch_size=1,
        num_threads=1, baseline="fp32", costs={variant.name: Cost(latency=variant.latency)}, chosen="fp32",
        reason="the only one",
    )  # fmt: skip


def _linear(tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    nodes, weights, sums = [], [], []
    for name, values in tensors.items():
        width = int(np.prod(values.shape[1:]))
        weights.append(numpy_helper.from_array(rng.normal(0, 0.1, (width, 2)).astype(np.float32), f"{name}_w"))
        nodes += [
            helper.make_node("Flatten", [name], [f"{name}_flat"], axis=1),
            helper.make_node("Cast", [f"{name}_flat"], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", [f"{name}_float", f"{name}_w"], [f"{name}_sum"]),
        ]
        sums.append(f"{name}_sum")
    nodes += [
        helper.make_node("Sum", sums, ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "linear",
        [helper.make_tensor_value_info(n, types[v.dtype], ["N", *v.shape[1:]]) for n, v in tensors.items()],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
