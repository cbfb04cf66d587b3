"""Divide rows into train, validation and test. The parts are stored with the run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.model_selection import train_test_split

from training.data.config import SplitConfig
from training.errors import DataError


@dataclass(frozen=True)
class Split:
    """Row numbers of each part. With a separate test source, `test` counts rows of that source."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_is_separate: bool

    def save(self, path: Path) -> None:
        """One row of the file for each row of the data: `row`, `part`, and `source` (main or test)."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        row = np.concatenate(list(parts.values()))
        part = np.repeat(list(parts), [len(ids) for ids in parts.values()])
        source = np.where((part == "test") & self.test_is_separate, "test", "main")
        pq.write_table(pa.table({"row": row, "part": part.tolist(), "source": source.tolist()}), path)


def split_rows(num_rows: int, strata: np.ndarray | None, config: SplitConfig, num_test_rows: int | None) -> Split:
    """Divide `num_rows` rows.

    Args:
        num_rows: rows of the main source.
        strata: class of each row (N,) to keep shares equal, or None.
        config: shares and seed.
        num_test_rows: rows of the separate test source, or None to hold out a share of the main one.
    """
    rows = np.arange(num_rows)
    if num_test_rows is not None:
        train, validation = _cut(rows, strata, config.validation, config.seed)
        return Split(train, validation, np.arange(num_test_rows), test_is_separate=True)
    rest, test = _cut(rows, strata, config.test, config.seed)
    rest_strata = strata[rest] if strata is not None else None
    train, validation = _cut(rest, rest_strata, config.validation / (1 - config.test), config.seed + 1)
    return Split(train, validation, test, test_is_separate=False)


def _cut(rows: np.ndarray, strata: np.ndarray | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    num_classes = len(np.unique(strata)) if strata is not None else 1
    # Each class needs a row on both sides, so small tables get a larger share than asked for;
    # fewer than two rows have no variance to explain.
    num_held = max(round(len(rows) * share), num_classes, 2)
    if len(rows) - num_held < num_classes:
        raise DataError(
            f"{len(rows)} rows are too few to divide: {num_held} held out leave {len(rows) - num_held} to train on",
            "add rows, or lower data.split.validation and data.split.test",
        )
    kept, held = train_test_split(rows, test_size=num_held, random_state=seed, stratify=strata)
    return np.sort(kept), np.sort(held)
