"""Folds on the disk: a file each, with its predictions and what they came to, there whole or not at all.

Shape letters: N rows of a fold, K classes or labels.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.cross_validation.record import FoldResult, Job
from training.errors import StorageError

FOLDER = "folds"
_ABOUT = b"manta"  # key of the file's metadata


@dataclass(frozen=True)
class Predicted:
    """The held-out rows of one fold, and what a model that never saw them says."""

    rows_N: np.ndarray  # numbers in the main source as read
    target: np.ndarray  # as `Part.target`
    scores: np.ndarray  # (N, K) probabilities, or (N,) predictions


@dataclass(frozen=True)
class KeptFolds:
    """The finished trainings of one division: so many folds of exactly these data."""

    folder: Path
    data_key: str

    @classmethod
    def of(cls, run: Path, num_folds: int, data_key: str) -> "KeptFolds":
        """Those of a run's folder; nothing is made yet."""
        return cls(run / FOLDER / f"of-{num_folds}", data_key)

    def path(self, job: Job) -> Path:
        """The file of one training."""
        return self.folder / f"fold-{job.fold}-seed-{job.seed}.parquet"

    def result(self, job: Job) -> FoldResult | None:
        """What a training came to; None where it is not finished, or was made on other data.

        Raises:
            StorageError: the file is damaged.
        """
        path = self.path(job)
        if not path.exists():
            return None
        try:
            about = json.loads((pq.read_schema(path).metadata or {})[_ABOUT])
            return FoldResult.model_validate(about["result"]) if about["data_key"] == self.data_key else None
        except (pa.ArrowInvalid, KeyError, ValueError) as error:
            message = f"{path} is not a fold of a cross-validation: {str(error)[:200]}"
            raise StorageError(message, f"remove {path}; it is then trained again") from error

    def predicted(self, job: Job) -> Predicted:
        """The predictions of a finished training."""
        table = pq.read_table(self.path(job))
        return Predicted(*(_array(table.column(name)) for name in ("row", "target", "scores")))

    def keep(self, result: FoldResult, predicted: Predicted) -> None:
        """Write a finished training; once this returns, a killed driver cannot have forgotten it."""
        about: dict[str, Any] = {"data_key": self.data_key, "result": result.model_dump(mode="json")}
        columns = {"row": predicted.rows_N, "target": predicted.target, "scores": predicted.scores}
        table = pa.table({name: _column(values) for name, values in columns.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(Job(result.fold, result.seed))
        write_parquet(table.replace_schema_metadata({_ABOUT: json.dumps(about)}), path)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write to a temporary file and rename it, so that a reader never sees half."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)  # temporary files are private; this one is for others to read
    Path(file.name).replace(path)


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_fixed_size_list(column.type):
        flat: np.ndarray = column.to_numpy()
        return flat
    values: np.ndarray = column.combine_chunks().flatten().to_numpy()
    return values.reshape(len(column), column.type.list_size)
