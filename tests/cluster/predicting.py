"""Shared by the tests of `manta predict`: rows in every format, a model that notes what it is given, bigger nets."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from cluster.predict.answers import Answering
from cluster.predict.reading import Reading
from cluster.predict.source import open_source
from serving.predictor import inputs_of_table
from serving.protocol.model import model_path
from tests.packages import TABLE_INPUTS, TABLE_TRANSFORMS, Recipe, _write
from tests.serving.asking import Model
from training.data.config import DataConfig
from training.data.sources import read_table
from training.package.manifest import InputSpec, Manifest, Task
from training.package.transforms import ImageTransform, Transforms

PIXELS = (1, 8, 8)
NUMBER = InputSpec(name="x", kind="numeric", datatype="FP32")
TEXT = InputSpec(name="x", kind="text", datatype="BYTES")


class Noting:
    """A model that keeps what it is asked, and answers with the number of the row."""

    task: Task = "regression"
    labels: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.asked: list[Mapping[str, np.ndarray]] = []

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked.append(inputs)
        return {"prediction": np.arange(len(next(iter(inputs.values()))), dtype=np.float32)}

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate([one[name] for one in self.asked]) for name in self.asked[0]}


def streamed(rows: Path | str, specs: tuple[InputSpec, ...], how: Mapping[str, Any], lot_rows: int) -> Noting:
    """What a model gets of these rows when they are read lot by lot."""
    reading, model = Reading(str(rows), specs, how), Noting()
    source = open_source(reading, lot_rows)
    for part in source.parts:
        for lot in source.lots(part):
            Answering(reading, model)(lot)
    return model


def whole(rows: Path | str, specs: tuple[InputSpec, ...], how: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The same, of the table read into memory as training reads it."""
    kinds = {
        s.name: {"kind": "date", "format": s.format} if s.kind == "date" else s.kind for s in specs if not s.columns
    }
    data = DataConfig.model_validate({**how, "source": str(rows), "target": "-", "columns": kinds})
    return inputs_of_table(read_table(data), specs)


def assert_same(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype, name
        if values.dtype == object:
            assert got[name].tolist() == values.tolist(), name
        else:
            assert got[name].tobytes() == values.tobytes(), name  # NaN and NaT too


def write_csv(table: pa.Table, path: Path) -> None:
    pacsv.write_csv(table, path)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=17)


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=13)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=13)


def write_lines(table: pa.Table, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


FORMATS: dict[str, Callable[[pa.Table, Path], None]] = {
    "t.csv": write_csv,
    "t.parquet": write_parquet,
    "t.arrow": write_arrow,
    "t.arrows": write_stream,
}


def people(num_rows: int, seed: int = 0) -> pa.Table:
    """Rows for the table package, with gaps, and columns that it does not take."""
    rng = np.random.default_rng(seed)
    cities = ["Rome", "Oslo", "São Paulo", "Atlantis", None]
    return pa.table(
        {
            "id": np.arange(num_rows),
            "age": pa.array(rng.uniform(17, 90, num_rows), mask=rng.random(num_rows) < 0.1),
            "hours": rng.integers(1, 99, num_rows),
            "city": pa.array(cities).take(pa.array(rng.integers(0, 5, num_rows))),
            "noise": rng.normal(size=num_rows),
            "target": rng.integers(0, 2, num_rows),
        }
    )


def write_mlp_package(folder: Path) -> Manifest:
    """The table package's columns through two hidden layers of 96 units to five classes."""
    rng = np.random.default_rng(3)
    sizes = [2, 96, 96, 5]
    nodes, weights, last = [], {}, "numeric"
    for i, (wide, out) in enumerate(pairwise(sizes)):
        weights[f"w{i}"] = rng.normal(0, wide**-0.5, (wide, out))
        weights[f"b{i}"] = rng.normal(0, 0.1, out)
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"h{i}"]))
        last = f"h{i}"
        if i < 2:
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"]))
            last = f"r{i}"
    weights["v"] = rng.normal(0, 0.3, (1, 5))
    nodes += [
        helper.make_node("Cast", ["categorical"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["codes", "v"], ["from_codes"]),
        helper.make_node("Add", [last, "from_codes"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    inputs = {"numeric": (TensorProto.FLOAT, [2]), "categorical": (TensorProto.INT64, [1])}
    rows = {"age": [25.0, None, 61.0], "hours": [40.0, 12.5, 55.0], "city": ["Rome", "Atlantis", None]}
    graph = _graph(nodes, inputs, weights, [5])
    return _write(folder, Recipe("mlp", tuple("abcde"), TABLE_INPUTS, TABLE_TRANSFORMS, rows, {"fp32": graph}))


def write_convnet_package(folder: Path) -> Manifest:
    """An 8x8 image in 64 columns through two convolutions to three classes."""
    rng = np.random.default_rng(4)
    weights = {
        "k0": rng.normal(0, 0.3, (16, 1, 3, 3)),
        "k1": rng.normal(0, 0.1, (32, 16, 3, 3)),
        "w": rng.normal(0, 0.2, (32, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "k0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("MaxPool", ["r0"], ["p0"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p0", "k1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    spec = InputSpec(
        name="image", kind="image", datatype="FP32", shape=PIXELS, columns=tuple(f"pixel_{i}" for i in range(64))
    )
    transforms = Transforms(image=ImageTransform(name="image", shape=PIXELS, mean=5.0, scale=6.0))
    rows = {"image": rng.integers(0, 17, (3, *PIXELS)).astype(np.float32).tolist()}
    graph = _graph(nodes, {"image": (TensorProto.FLOAT, list(PIXELS))}, weights, [3])
    return _write(folder, Recipe("convnet", ("0", "1", "2"), (spec,), transforms, rows, {"fp32": graph}))


def pixels(num_rows: int) -> pa.Table:
    """Rows for the package of images."""
    values = np.random.default_rng(5).integers(0, 17, (num_rows, 64))
    return pa.table({f"pixel_{i}": values[:, i] for i in range(64)})


def _graph(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, list[int]]],
    weights: Mapping[str, np.ndarray],
    out: list[int],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, dtype, ["N", *shape]) for name, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", *out])],
        [numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_summing_package(folder: Path) -> Manifest:
    """An 8x8 image whose 16 lots of four pixels are added up: as a Transformer adds up its tokens."""
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["lots"]),
        helper.make_node("ReduceSum", ["lots", "axes"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "tenth"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    spec = InputSpec(
        name="image", kind="image", datatype="FP32", shape=PIXELS, columns=tuple(f"pixel_{i}" for i in range(64))
    )
    transforms = Transforms(image=ImageTransform(name="image", shape=PIXELS, mean=5.0, scale=6.3))
    graph = _graph(nodes, {"image": (TensorProto.FLOAT, list(PIXELS))}, {"tenth": np.array([0.1])}, [4])
    for name, value in (("shape", [-1, 16, 4]), ("axes", [1])):
        graph.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    rows = {"image": np.zeros((3, *PIXELS), np.float32).tolist()}
    return _write(folder, Recipe("sums", tuple("abcd"), (spec,), transforms, rows, {"fp32": graph}))


@contextmanager
def served(package: Path, *, without_table: bool = False) -> Iterator[str]:
    """The address of an endpoint of one model. `without_table`: one of an earlier version, see `EndpointModel`."""
    model = Model(package)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/v2/models":
                self._reply(200, {}, b'[{"name": "adult"}]')
                return
            metadata = json.loads(self._asked("GET"))
            if without_table:
                del metadata["parameters"]["table"]
            self._reply(200, {}, json.dumps(metadata).encode())

        def do_POST(self) -> None:
            self._asked("POST", self.rfile.read(int(self.headers["Content-Length"])), reply=True)

        def _asked(self, method: str, body: bytes = b"", *, reply: bool = False) -> bytes:
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = model.ask(method, self.path.removeprefix(model_path("adult")), body, headers)
            if reply:
                self._reply(answer.status, answer.headers, answer.body)
            return answer.body

        def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
