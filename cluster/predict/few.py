"""All answers at once, where the rows are few."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster.predict.answers import Answering, PackageModel
from cluster.predict.output import records_of
from cluster.predict.reading import Reading
from cluster.predict.run import predict_here
from cluster.predict.source import open_source
from serving.predictor import Predictor
from training.package.answers import plain
from training.package.table_reading import table_reading_of

Answer = dict[str, Any]


def here(rows: Path, package: Path) -> list[Answer]:
    """One answer a row of a file, as `Predictor.predict_records` gives them. Raises DataError and PackageError."""
    predictor, tables = Predictor.load(package), _Tables([])
    reading = Reading(str(rows), predictor.manifest.inputs, table_reading_of(package))
    predict_here(open_source(reading), Answering(reading, PackageModel(predictor)), tables, lambda *_: None)
    return [plain(record) for record in records_of(pa.concat_tables(tables.taken), predictor.manifest.labels)]


def as_csv(answers: list[Answer]) -> str:
    """Answers as CSV: label, or labels as a JSON list, with one column of probabilities each; or the number."""
    flat = [_flat(answer) for answer in answers]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(answer: Answer) -> dict[str, Any]:
    rest = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
        for name, value in answer.items()
        if name != "probabilities"
    }
    return rest | {f"probability_{label}": value for label, value in answer.get("probabilities", {}).items()}


class _Tables:
    def __init__(self, taken: list[pa.Table]) -> None:
        self.taken = taken

    def write(self, table: pa.Table) -> None:
        self.taken.append(table)

    def close(self) -> None:
        """Nothing."""
