"""What a package answers, by task: the one rule for serving, golden rows and held-out scores.

Shape letters: N rows, K classes or labels.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from training.package.decision import answers
from training.package.manifest import OutputSpec, Task

GIVEN_FROM = 0.5  # probability from which one of several labels is given, where the package says nothing else
_NUMBERS: dict[Task, str] = {
    "classification": "probabilities", "multilabel": "probabilities", "regression": "prediction",
    "language_modelling": "log_likelihood",
}  # fmt: skip


def numbers_name(task: Task) -> str:
    """The output that holds the model's own numbers: `probabilities`, `prediction` or `log_likelihood`."""
    return _NUMBERS[task]


def output_specs(task: Task, labels: tuple[str, ...]) -> tuple[OutputSpec, ...]:
    """The outputs that a client may ask for."""
    numbers = OutputSpec(name=numbers_name(task), datatype="FP32", shape=(len(labels),) if labels else ())
    match task:
        case "classification":
            return (OutputSpec(name="label", datatype="BYTES"), numbers)
        case "multilabel":
            return (OutputSpec(name="labels", datatype="BYTES"), numbers)
    return (numbers,)


def outputs_of(
    task: Task, labels: tuple[str, ...], scores: np.ndarray, threshold: float | None
) -> dict[str, np.ndarray]:
    """Outputs by name from what the model gives.

    `probabilities` (N, K) with the most probable `label` (N,), or with the `labels` (N,) that are given, a JSON list
    of texts each: a tensor has no rows of unequal length; `prediction` (N,); or `log_likelihood` (N,).
    """
    numbers = {numbers_name(task): scores}
    names_K = np.array(labels, dtype=object)
    match task:
        case "classification":
            return {"label": names_K[answers(scores, threshold)], **numbers}
        case "multilabel":
            return {"labels": _label_lists(names_K, given(scores, threshold)), **numbers}
    return numbers


def given(probability_NK: np.ndarray, threshold: float | None) -> np.ndarray:
    """Which labels are given, (N, K) bool. Compared in float32, as the probabilities are."""
    return np.asarray(probability_NK >= np.float32(GIVEN_FROM if threshold is None else threshold))


def answer_schema(task: Task, labels: tuple[str, ...]) -> pa.Schema:
    """`label` or `labels` with one `probability_<label>` each, or the number."""
    if not labels:
        return pa.schema([(numbers_name(task), pa.float32())])
    said = ("labels", pa.list_(pa.string())) if task == "multilabel" else ("label", pa.string())
    return pa.schema([said, *((f"probability_{label}", pa.float32()) for label in labels)])


def answer_table(task: Task, labels: tuple[str, ...], outputs: Mapping[str, np.ndarray]) -> pa.Table:
    """Outputs as a table, one row a row."""
    schema = answer_schema(task, labels)
    if not labels:
        return pa.table([pa.array(outputs[schema.names[0]], pa.float32())], schema=schema)
    said = outputs[schema.names[0]].tolist()
    first = pa.array([json.loads(text) for text in said] if task == "multilabel" else said, schema.field(0).type)
    numbers_NK = outputs["probabilities"]
    columns = [pa.array(np.ascontiguousarray(numbers_NK[:, k]), pa.float32()) for k in range(len(labels))]
    return pa.table([first, *columns], schema=schema)


def records_of(outputs: Mapping[str, np.ndarray], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """One record a row: {"label" or "labels", "probabilities": {label: p}}, or {name: number}."""
    if not labels:
        name, values = next(iter(outputs.items()))
        return [{name: value} for value in values]
    name = "labels" if "labels" in outputs else "label"
    said = outputs[name].tolist()
    rows = zip(map(json.loads, said) if name == "labels" else said, outputs["probabilities"], strict=True)
    return [{name: answer, "probabilities": dict(zip(labels, row, strict=True))} for answer, row in rows]


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record with Python's own numbers."""
    return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: float(number) for name, number in value.items()}
    return value if isinstance(value, str | list) else float(value)


def _label_lists(names_K: np.ndarray, given_NK: np.ndarray) -> np.ndarray:
    lists = np.empty(len(given_NK), dtype=object)
    lists[:] = [json.dumps(names_K[row_K].tolist(), ensure_ascii=False) for row_K in given_NK]
    return lists
