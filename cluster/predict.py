"""Rows of a file to answers: by a package in this process, or by an endpoint."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from cluster.releases import release_of
from serving.client import Client
from serving.predictor import Predictor, inputs_of_table
from serving.protocol.model import records_from_outputs
from training.data.config import DataConfig
from training.data.sources import read_table
from training.errors import ConfigError, DataError
from training.package.answers import plain
from training.package.manifest import InputSpec

Answer = dict[str, Any]
JSON_ENDINGS = (".json", ".jsonl", ".ndjson")
ROWS_PER_REQUEST = 256
SHAPING = ("rename", "cast", "convert")
NO_TARGET = "-"  # rows to predict need no target; the name only has to be there


def default_format(rows: Path) -> str:
    """The form of answers that fits a file of rows."""
    return "jsonl" if rows.suffix.lower() in JSON_ENDINGS else "csv"


def package_of(model: str, storage: str) -> Path:
    """The package of a release."""
    return release_of(model, storage).package


def here(rows: Path, package: Path) -> list[Answer]:
    """Answers of a package, computed in this process."""
    predictor = Predictor.load(package)
    if default_format(rows) == "jsonl":
        return predictor.predict_records(read_records(rows))
    table = _read_rows(rows, _data_config(package), predictor.manifest.inputs)
    return [
        plain(row)
        for row in records_from_outputs(
            predictor.predict(_inputs(table, predictor.manifest.inputs)), predictor.manifest.labels
        )
    ]


def over_http(rows: Path, url: str, model: str | None) -> list[Answer]:
    """Answers of an endpoint. `model` may be left out where only one is served."""
    with Client(url) as client:
        name, _, version = (model or _only_model(client, url)).partition("@")
        if default_format(rows) == "jsonl":
            records = read_records(rows)
            parts = [records[i : i + ROWS_PER_REQUEST] for i in range(0, len(records), ROWS_PER_REQUEST)]
            return [answer for part in parts for answer in client.predict(name, part, version or None)]
        metadata = client.metadata(name, version or None)
        specs = _specs(metadata)
        table = _read_rows(rows, {}, specs)
        answers: list[Answer] = []
        for start in range(0, table.num_rows, ROWS_PER_REQUEST):
            inputs = _inputs(table.slice(start, ROWS_PER_REQUEST), specs)
            outputs = client.infer(name, inputs, version=version or None)
            answers += [plain(row) for row in records_from_outputs(outputs, tuple(metadata["parameters"]["labels"]))]
        return answers


def _specs(metadata: dict[str, Any]) -> tuple[InputSpec, ...]:
    hints = metadata["parameters"]["inputs"]
    return tuple(
        InputSpec.model_validate(spec | {"shape": spec["shape"][1:]} | hints[spec["name"]])
        for spec in metadata["inputs"]
    )


def read_records(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON file: a list of objects, one object, or one object a line. Raises DataError with the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            raise DataError(f"{path} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
        return [_record(line, path, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    rows = content if isinstance(content, list) else [content]
    return [row if isinstance(row, dict) else _not_a_record(path, number, row) for number, row in enumerate(rows, 1)]


def as_csv(answers: list[Answer]) -> str:
    """Answers as CSV: label, or labels as a JSON list, with one column of probabilities each; or the number."""
    flat = [_flat(answer) for answer in answers]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def as_json_lines(answers: list[Answer]) -> str:
    """Answers as one JSON object a line."""
    return "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)


def _flat(answer: Answer) -> dict[str, Any]:
    rest = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        for name, value in answer.items()
        if name != "probabilities"
    }
    return rest | {f"probability_{label}": value for label, value in answer.get("probabilities", {}).items()}


def _record(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON at line {number}, column {error.colno}: {error.msg}") from error
    return row if isinstance(row, dict) else _not_a_record(path, number, row)


def _not_a_record(path: Path, number: int, row: object) -> dict[str, Any]:
    raise DataError(f"{path}: row {number} is {json.dumps(row)[:60]}, must be an object of column names and values")


def _data_config(package: Path) -> dict[str, Any]:
    """How the training table was read and shaped, as its experiment says."""
    data: dict[str, Any] = (yaml.safe_load((package / "experiment.yaml").read_text()) or {}).get("data", {})
    return {key: data[key] for key in ("delimiter", "missing", "names", *SHAPING) if key in data}


def _read_rows(rows: Path, how: dict[str, Any], specs: tuple[InputSpec, ...]) -> pa.Table:
    kinds = {spec.name: _setting(spec) for spec in specs if not spec.columns}
    wanted = {name for spec in specs for name in (spec.columns or (spec.name,))}
    shaping = {key: _about(how.get(key) or {}, wanted, by_new_name=key == "rename") for key in SHAPING}
    config = DataConfig.model_validate({**how, **shaping, "source": str(rows), "target": NO_TARGET, "columns": kinds})
    return read_table(config)


def _about(shaping: dict[str, str], wanted: set[str], *, by_new_name: bool) -> dict[str, str]:
    """Of the columns that the model takes: rows to predict come without the target and what was left out."""
    return {name: value for name, value in shaping.items() if (value if by_new_name else name) in wanted}


def _setting(spec: InputSpec) -> Any:
    return {"kind": "date", "format": spec.format} if spec.kind == "date" else spec.kind


def _inputs(table: pa.Table, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    wanted = [name for spec in specs for name in (spec.columns or (spec.name,))]
    if lacking := [name for name in wanted if name not in table.column_names]:
        raise DataError(
            f"the rows lack {len(lacking)} of {len(wanted)} columns: {', '.join(lacking[:8])}",
            f"they have: {', '.join(table.column_names[:12])}",
        )
    return inputs_of_table(table, specs)


def _only_model(client: Client, url: str) -> str:
    names = [str(model["name"]) for model in client.models()]
    if len(names) != 1:
        raise ConfigError(f"{url} serves {len(names)} models", f"--model, one of: {', '.join(names) or 'none yet'}")
    return names[0]
