"""Several labels a row, from the table to the served answer."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn import metrics as sk
from torch import nn

from cluster.predict.wish import ByPackage, Wish, by_package
from serving.predictor import Predictor
from serving.protocol.model import ModelHandler, ModelInfo
from tests.training.tasks.way import QUICK, packaged
from training.config import Experiment
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Part
from training.errors import ConfigError, DataError
from training.package.manifest import Manifest
from training.package.read import load_package
from training.pipeline import Work

LABELS = ("blue", "green", "red")
NUM_ROWS = 400


def truth() -> tuple[np.ndarray, np.ndarray]:
    """Three numbers (N, 3), and a label wherever one of them, with some noise, is high: none to three a row."""
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(NUM_ROWS, 3)).astype(np.float32)
    return numbers, (numbers + 0.3 * draw.normal(size=numbers.shape) > [0.0, 0.5, 1.0])


def write(folder: Path, how: str) -> dict[str, Any]:
    """The table, and the keys of `data` that say how its labels are written."""
    numbers, has = truth()
    features = {name: numbers[:, i].tolist() for i, name in enumerate("xyz")}
    lists = [[LABELS[k] for k in np.flatnonzero(row)[::-1]] for row in has]
    match how:
        case "parquet":
            pq.write_table(pa.table({**features, "colour": lists}), folder / "t.parquet")
            return {"source": str(folder / "t.parquet"), "target": "colour"}
        case "jsonl":
            rows = [{**{k: v[i] for k, v in features.items()}, "colour": lists[i]} for i in range(NUM_ROWS)]
            (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
            return {"source": str(folder / "t.jsonl"), "target": "colour"}
        case "text":
            return {**_csv(folder, {**features, "colour": ["|".join(row) for row in lists]}), "label_separator": "|"}
    columns = {label: has[:, k].astype(int).tolist() for k, label in enumerate(LABELS)}
    return {**_csv(folder, features | columns), "target": ["red", "green", "blue"]}


def _csv(folder: Path, columns: dict[str, list[Any]]) -> dict[str, Any]:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return {"source": str(folder / "t.csv"), "target": "colour"}


@pytest.mark.parametrize("how", ["parquet", "jsonl", "text", "columns"])
def test_however_labels_are_written_they_are_the_same_target(tmp_path: Path, how: str) -> None:
    data = {**write(tmp_path, how), "task": "multilabel", "split": {"kind": "random", "seed": 1}}
    prepared = prepare(DataConfig.model_validate(data))
    _, has = truth()
    assert prepared.facts.labels == LABELS
    assert prepared.facts.num_outputs == 3
    assert prepared.split is not None
    assert isinstance(prepared.train, Part)
    assert prepared.train.target.dtype == np.float32
    for part, rows in ((prepared.train, prepared.split.train), (prepared.test, prepared.split.test)):
        np.testing.assert_array_equal(part.target, has[rows])
    assert set(prepared.train.tensors) == {"numeric"}  # no label is among the features
    assert prepared.train.tensors["numeric"].shape[1] == 3


def test_rare_labels_stand_in_every_part(tmp_path: Path) -> None:
    """Of 300 rows 6 have the rare label: by chance a part of 45 rows would lack it in 4 of 10 divisions."""
    draw = np.random.default_rng(3)
    labels = [["often"] if i % 50 else ["often", "rare"] for i in range(300)]
    pq.write_table(pa.table({"x": draw.normal(size=300), "y": labels}), tmp_path / "t.parquet")
    for seed in range(5):
        data: dict[str, Any] = {"source": str(tmp_path / "t.parquet"), "target": "y", "task": "multilabel"}
        data |= {"split": {"seed": seed, "validation": 0.3, "test": 0.3}}
        prepared = prepare(DataConfig.model_validate(data))
        for part in (prepared.train, prepared.validation, prepared.test):
            assert isinstance(part, Part)
            assert part.target[:, 1].sum() >= 1


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, nn.Module, Manifest, list[dict[str, float]]]:
    folder = tmp_path_factory.mktemp("colours")
    raw = {
        "name": "colours", "data": {**write(folder, "parquet"), "task": "multilabel"},
        "model": {"hidden": [160, 160]}, "compress": QUICK,
        "train": {"epochs": 6, "peak_lr": 0.01, "label_smoothing": 0.02,
                  "imbalance": {"class_weights": "balanced", "threshold": 0.4}, "augment": {"mixup": 0.1}},
    }  # fmt: skip
    return packaged(raw, folder)


def test_training_learns_and_is_judged_by_average_precision(packed: Any) -> None:
    work, _, manifest, history = packed
    assert work.metric == "average_precision"
    assert max(epoch["validation/average_precision"] for epoch in history) > 0.9
    assert manifest.metric == "test/average_precision"
    assert (manifest.task, manifest.labels, manifest.threshold) == ("multilabel", LABELS, 0.4)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_served_answers_are_torchs_and_have_the_scores_that_the_package_tells(packed: Any, variant: str) -> None:
    work, model, manifest, _ = packed
    predictor = Predictor.load(work.run.package, variant)
    predictor.self_test()
    rows, truth_NK = work.prepared.test_rows, work.prepared.test.target
    outputs = predictor.predict({name: rows[name].to_numpy().astype(np.float32) for name in "xyz"})
    with torch.no_grad():
        expected = model(torch.from_numpy(work.prepared.test.tensors["numeric"])).sigmoid().numpy()
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5 if variant == "fp32" else 0.1)
    given = outputs["probabilities"] >= np.float32(0.4)
    assert [json.loads(text) for text in outputs["labels"]] == [
        [LABELS[k] for k in np.flatnonzero(row)] for row in given
    ]
    told = manifest.variant(variant).metrics
    assert told["test/f1_macro"] == pytest.approx(sk.f1_score(truth_NK, given, average="macro"))
    assert told["test/subset_accuracy"] == pytest.approx(sk.accuracy_score(truth_NK, given))
    assert told["test/average_precision"] == pytest.approx(
        sk.average_precision_score(truth_NK, outputs["probabilities"], average="macro")
    )


def test_records_tables_and_files_say_the_same(packed: Any, tmp_path: Path) -> None:
    work, _, _, _ = packed
    predictor = Predictor.load(work.run.package)
    table = work.prepared.test_rows.slice(0, 5)
    records = [{name: row[name] for name in "xyz"} for row in table.to_pylist()]
    answers = predictor.predict_records(records)
    assert set(answers[0]) == {"labels", "probabilities"}
    assert list(answers[0]["probabilities"]) == list(LABELS)
    columns = predictor.predict_table(table)
    assert columns["labels"].to_pylist() == [answer["labels"] for answer in answers]
    pq.write_table(table.select(["x", "y", "z"]), tmp_path / "rows.parquet")
    wish = Wish(str(tmp_path / "rows.parquet"), str(tmp_path / "answers.parquet"))
    by_package(wish, ByPackage(work.run.package), lambda *_: None, lambda _: None)
    assert pq.read_table(tmp_path / "answers.parquet").equals(columns)


def test_a_golden_row_that_says_other_labels_than_its_probabilities_is_refused(packed: Any) -> None:
    work, _, _, _ = packed
    package = load_package(work.run.package)
    package.golden.outputs["fp32"]["labels"][0] = '["red", "green", "blue", "pink"]'
    with pytest.raises(Exception, match=r"golden row 0 is .*pink"):
        Predictor(package, package.manifest.variant("fp32")).self_test()


def test_the_card_and_the_reference_say_what_they_can(packed: Any) -> None:
    work, _, _, _ = packed
    card = (work.run.package / "MODEL_CARD.md").read_text()
    assert "any of 3 labels (blue, green, red)" in card
    assert "A label is given where its probability is at least **0.4**" in card
    assert '"target":null' in (work.run.package / "reference.json").read_text().replace(" ", "")


def test_unknown_labels_of_held_out_rows_are_named(tmp_path: Path) -> None:
    data = {**write(tmp_path, "parquet"), "task": "multilabel", "test": str(tmp_path / "other.parquet")}
    other = pa.table({"x": [0.0, 1.0], "y": [0.0, 1.0], "z": [0.0, 1.0], "colour": [["red"], ["mauve"]]})
    pq.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"data.source lacks: 'mauve'"):
        prepare(DataConfig.model_validate(data))


def test_a_column_that_gives_a_label_away_is_found(tmp_path: Path) -> None:
    numbers, has = truth()
    table = pa.table(
        {
            "x": numbers[:, 0],
            "copy": has[:, 1].astype(float),
            "y": [[LABELS[k] for k in np.flatnonzero(r)] for r in has],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="copy"):
        prepare(DataConfig(source=str(tmp_path / "t.parquet"), target="y", task="multilabel"))


@pytest.mark.parametrize(
    ("columns", "config", "said"),
    [
        ({"y": ["a", "b"] * 20}, {"target": "y"}, "lists of text"),
        ({"y": [["a"]] * 40}, {"target": "y"}, "has 1 label: 'a'"),
        ({"a": [0, 2] * 20, "b": [0, 1] * 20}, {"target": ["a", "b"]}, "holds 2 in row 1"),
        ({"a": [0, 1] * 20, "b": [0, 0] * 20}, {"target": ["a", "b"]}, "no row has the label 'b'"),
        ({"a": [0, 1] * 20}, {"target": ["a", "c"]}, "names c, but"),
        ({"y": [["a"], None] * 20}, {"target": "y"}, "rows are bad"),
    ],
)
def test_targets_that_are_none(tmp_path: Path, columns: dict[str, Any], config: dict[str, Any], said: str) -> None:
    pq.write_table(pa.table({"x": np.arange(40.0), **columns}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=said):
        prepare(DataConfig.model_validate({"source": str(tmp_path / "t.parquet"), "task": "multilabel", **config}))


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        ({"loading": "stream"}, {}, "loading=stream does not know"),
        ({"task": "auto", "target": ["a", "b"]}, {}, "needs task: multilabel"),
        ({}, {"ensemble": {"members": 2}}, "ensemble answers"),
        ({}, {"train": {"imbalance": {"sampling": "balanced"}}}, "sampling is for classes"),
        ({}, {"train": {"imbalance": {"resample": "smote"}}}, "resample is for classes"),
        ({}, {"train": {"imbalance": {"threshold": "f1"}}}, "tuned for two classes"),
        ({}, {"train": {"loss": {"kind": "huber"}}}, "huber is not for several labels"),
    ],
)
def test_settings_that_several_labels_do_not_have(data: dict[str, Any], more: dict[str, Any], said: str) -> None:
    raw = {"name": "x", "data": {"source": "t.csv", "target": "y", "task": "multilabel", **data}, **more}
    with pytest.raises(ValueError, match=said):
        Experiment.model_validate(raw)


def test_weights_of_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    data = {**write(tmp_path, "parquet"), "task": "multilabel"}
    raw = {"name": "x", "data": data, "train": {"epochs": 1, "imbalance": {"class_weights": {"mauve": 2}}}}
    with pytest.raises(ConfigError, match="names 'mauve', which is no label"):
        packaged(raw, tmp_path)


@pytest.mark.parametrize("binary", [False, True])
def test_a_client_of_the_protocol_gets_a_list_a_row(packed: Any, binary: bool) -> None:
    work, _, _, _ = packed
    predictor = Predictor.load(work.run.package)

    async def predict(inputs: Any, _: int) -> Any:
        return predictor.predict(inputs)

    info = ModelInfo("colours", "1", predictor.manifest, predictor.package.golden, "fp32")
    handler = ModelHandler(info, predict, lambda: True)
    column = {"datatype": "FP32", "shape": [2], "data": [2.0, -2.0]}
    body: dict[str, Any] = {"inputs": [{"name": name, **column} for name in "xyz"]}
    body |= {"parameters": {"binary_data_output": binary}}
    reply = asyncio.run(handler.handle("POST", "/v2/models/colours/infer", {}, orjson.dumps(body)))
    assert reply.status == 200, reply.body
    size = int(reply.headers.get("inference-header-content-length", len(reply.body)))
    outputs = {output["name"]: output for output in orjson.loads(reply.body[:size])["outputs"]}
    assert outputs["labels"]["shape"] == [2]
    assert outputs["probabilities"]["shape"] == [2, 3]
    if not binary:
        assert [json.loads(text) for text in outputs["labels"]["data"]] == [list(LABELS), []]
    records = asyncio.run(
        handler.handle("POST", "/v2/models/colours/predict", {}, orjson.dumps([{"x": 2.0, "y": 2.0, "z": 2.0}]))
    )
    assert orjson.loads(records.body)[0]["labels"] == list(LABELS)
